"""A provider's time runs out: without a connection, without a byte for too long, or in all."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.stack import GATEWAY, ONE_WORKER, Model, Stack, prompt, up

PROVIDERS = """\
  total: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}, timeouts: {total: 0.5}}
  idle: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}, timeouts: {idle: 0.5}}
  deaf: {dialects: [chat], base_url: "${DEAF_URL}", timeouts: {connect: 0.3}}
models:
  - {name: total, provider: total, model: gpt-4o-mini}
  - {name: idle, provider: idle, model: gpt-4o-mini}
  - {name: deaf, provider: deaf}
"""


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """A place that takes no connection: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        with contextlib.suppress(TimeoutError):
            while True:
                waiting.enter_context(socket.create_connection(listener.getsockname(), 0.2))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    """Each model is named as its provider's limit."""
    config = GATEWAY.replace("models:\n", PROVIDERS)
    with deaf() as url:
        environ = {"MODEL_URL": model.url, "DEAF_URL": url}
        with up(tmp_path_factory.mktemp("impatient"), environ=environ, config=config, arguments=ONE_WORKER) as stack:
            yield stack


@pytest.mark.parametrize("limit", ["total", "idle"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_provider(impatient: Stack, limit: str, stream: bool) -> None:
    answer = impatient.call(prompt("demo: silent 5", model=limit, stream=stream))
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
    assert impatient.record(answer)["reason"] == "UpstreamTimeout"
    assert impatient.call(prompt("demo: say hi", model=limit)).status_code == 200


def test_no_connection_in_time(impatient: Stack) -> None:
    for path, status, kind in (
        ("/v1/messages", 529, "overloaded_error"),
        ("/v1/chat/completions", 503, "service_unavailable_error"),
    ):
        answer = impatient.call(prompt("hello", model="deaf"), path=path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        record = impatient.record(answer)
        assert record["reason"] == "UpstreamUnavailable" and {"UF", "URX"} == set(record["flags"].split(","))
    assert impatient.call(prompt("demo: say hi")).status_code == 200
