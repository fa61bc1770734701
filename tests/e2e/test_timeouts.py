"""A provider's time runs out: without a connection, without a byte for too long, or in all."""

import contextlib
import socket
from collections.abc import Iterator
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


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """A place that takes no connection: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        with contextlib.suppress(TimeoutError):
            while True:
                waiting.enter_context(socket.create_connection(listener.getsockname(), 0.2))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_no_connection_in_time(tmp_path: Path, model: Model) -> None:
    deaf_one = '{dialects: [chat], base_url: "${DEAF_URL}", timeouts: {connect: 0.3}}'
    config = GATEWAY.replace("models:", f"  deaf: {deaf_one}\nmodels:\n  - {{name: deaf, provider: deaf}}")
    with deaf() as url, up(tmp_path, environ={"MODEL_URL": model.url, "DEAF_URL": url}, config=config) as stack:
        for path, status, kind in (
            ("/v1/messages", 529, "overloaded_error"),
            ("/v1/chat/completions", 503, "service_unavailable_error"),
        ):
            answer = stack.call(prompt("hello", model="deaf"), path=path)
            assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
            record = stack.record(answer)
            assert record["reason"] == "UpstreamUnavailable" and {"UF", "URX"} == set(record["flags"].split(","))
        assert stack.call(prompt("demo: say hi")).status_code == 200
