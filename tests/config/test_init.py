import re
from pathlib import Path

import pytest

from extproc.config import init, loading
from extproc.demo import idp
from extproc.gateway.gateway import Gateway


@pytest.mark.parametrize("name", init.KINDS)
def test_each_file_is_a_configuration_without_mistakes(tmp_path: Path, name: str) -> None:
    idp.ensure_keys(tmp_path / "keys")
    path = tmp_path / "gateway.yaml"
    init.write(path, name)
    environ = {key: "sk-0123456789" for key in [init.KINDS[name].key] if key}
    made = Gateway(loading.load(path, environ), environ)
    found = made.catalogue.resolve("claude-opus-5-5")
    assert found is not None and found.provider.name == name
    assert found.upstream == init.KINDS[name].model or found.upstream == "claude-opus-5-5"


@pytest.mark.parametrize("name", init.KINDS)
def test_what_is_commented_out_may_be_used(tmp_path: Path, name: str) -> None:
    idp.ensure_keys(tmp_path / "keys")
    path = tmp_path / "gateway.yaml"
    path.write_text(re.sub(r"# (max_output_tokens|context_window|require):", r"\1:", init.text(name)))
    environ = {key: "sk-0123456789" for key in [init.KINDS[name].key] if key}
    made = Gateway(loading.load(path, environ), environ)
    found = made.catalogue.resolve("claude-x")
    assert found is not None and found.profile.context_window == 131072


def test_comments_stand_in_one_column() -> None:
    lines = [line for line in init.text("openai").splitlines()[2:] if re.search(r"\S.* # ", line)]
    assert len(lines) > 5 and {line.rindex(" # ") for line in lines} == {39}


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("mine")
    with pytest.raises(init.CannotWrite, match="is there already"):
        init.write(path, "openai")
    assert path.read_text() == "mine"
    with pytest.raises(init.CannotWrite, match="cannot be written: No such file"):
        init.write(tmp_path / "nowhere" / "gateway.yaml", "openai")


def test_what_comes_next() -> None:
    said = init.next_steps(Path("other.yaml"), "azure")
    assert "Put your own in the place of RESOURCE and DEPLOYMENT there." in said
    assert "export AZURE_OPENAI_API_KEY=" in said and "extproc up --config other.yaml" in said
    assert "export" not in init.next_steps(Path("gateway.yaml"), "ollama")
