"""A worker takes on so much at a time; who comes beyond that hears it at once, and nothing of it reaches a model."""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.sse import streaming
from tests.e2e.stack import GATEWAY, Model, Stack, prompt, text_of, up
from tests.e2e.test_streams import Endless

LIMITED = GATEWAY.replace(
    "models:",
    '  endless: {dialects: [chat], base_url: "${ENDLESS_URL}"}\nmodels:\n  - {name: endless, provider: endless}',
)
LIMITED += "streaming: {ping_interval: 0.2, first_event_hold: 0.3}\nlimits: {calls: 1}\n"


@pytest.fixture
def endless() -> Endless:
    model = Endless()
    model.speak.set()
    return model


@pytest.fixture
def limited(tmp_path_factory: pytest.TempPathFactory, model: Model, endless: Endless) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url, "ENDLESS_URL": endless.url}
    folder = tmp_path_factory.mktemp("limited")
    with up(folder, environ=environ, config=LIMITED, arguments=["--workers", "1"]) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/messages", "overloaded_error"), ("/v1/chat/completions", "service_unavailable_error")]
)
def test_one_too_many_is_told_to_come_back(
    limited: Stack, endless: Endless, model: Model, path: str, kind: str
) -> None:
    asked = model.asked()
    with streaming(limited, "hello", model="endless") as running:
        assert running.status_code == 200
        refused = limited.call(prompt("demo: say hi"), path=path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert refused.json()["error"]["type"] == kind
        assert limited.call(prompt("demo: say hi"), token=None).status_code == 401, "a stranger hears nothing of it"
        assert limited.call(method="GET", path="/v1/models").status_code == 200, "what holds nothing is answered"
        record = limited.record(refused)
        assert (record["reason"], record["error"], record["jwt.sub"]) == (
            "Overloaded",
            "overloaded",
            "developer@acme.example",
        )
    assert not model.since(asked)
    assert endless.left.wait(20)
    assert text_of(_soon(limited).json()) == "hi"


def _soon(limited: Stack) -> httpx.Response:
    """When Envoy has told the worker that the client left."""
    for _ in range(200):
        answer = limited.call(prompt("demo: say hi"))
        if answer.status_code == 200:
            return answer
    pytest.fail("no room was given back")
