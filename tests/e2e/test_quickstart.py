"""What docs/quickstart.md shows works as it is pasted."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import ONE_WORKER, Model, demo_model, prompt, text_of, up
from tests.manifests import ROOT

PAGE = (ROOT / "docs/quickstart.md").read_text("utf-8")
# The server's address is the only thing of it that cannot stay.
ADDRESS = "http://127.0.0.1:8000/v1"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with demo_model(tmp_path_factory.mktemp("local"), key="") as running:
        yield running


def test_a_model_of_ones_own_answers_the_labs_token(tmp_path: Path, local: Model) -> None:
    [example] = re.findall(r"```yaml\n(providers:\n  local:.*?)```", PAGE, re.DOTALL)
    assert example.count(ADDRESS) == 1
    shipped = (ROOT / "gateway.yaml").read_text("utf-8")
    rest = re.sub(r"^(providers|models|translation):.*?(?=^\w|\Z)", "", shipped, flags=re.DOTALL | re.MULTILINE)
    with up(tmp_path, config=rest + example.replace(ADDRESS, local.url), arguments=ONE_WORKER) as stack:
        for name, upstream in (("claude-haiku-5-5", "qwen3-8b"), ("claude-opus-5-5", "qwen3-coder")):
            answer = stack.call(prompt("demo: say hi", model=name))
            assert (answer.status_code, text_of(answer.json())) == (200, "hi")
            assert upstream in local.last()["body"]
