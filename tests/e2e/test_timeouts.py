"""A provider's time runs out: without a byte for too long, or in all."""

from pathlib import Path

import pytest

from tests.e2e.stack import GATEWAY, Model, prompt, up

OPENAI = 'openai: {dialects: [chat], base_url: "${MODEL_URL}"'


@pytest.mark.parametrize("limit", ["total", "idle"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_provider(tmp_path: Path, model: Model, limit: str, stream: bool) -> None:
    config = GATEWAY.replace(OPENAI, f"{OPENAI}, timeouts: {{{limit}: 0.5}}")
    assert config != GATEWAY
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config) as stack:
        answer = stack.call(prompt("demo: silent 5", stream=stream))
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
        assert stack.record(answer)["reason"] == "UpstreamTimeout"
        assert stack.call(prompt("demo: say hi")).status_code == 200
