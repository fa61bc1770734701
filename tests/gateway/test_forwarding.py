"""A request as it goes to a provider: an allow-list of headers, and one credential."""

from pathlib import Path

import pytest

from extproc.events import Forward
from tests.failing_over import ASK, KEYS, Call, gateway
from tests.issuing import token

MODELS = """
models:
  - {name: m, providers: [{provider: a}, {provider: b}, {provider: c}]}
"""
COMMON = {
    ":path", "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
}  # fmt: skip
OWN = {1: {"x-api-key", "anthropic-version"}, 2: {"authorization"}, 3: {"authorization"}}


@pytest.mark.parametrize("number", OWN)
@pytest.mark.parametrize("stream", [False, True])
def test_only_these_headers_go_on(tmp_path: Path, number: int, stream: bool) -> None:
    call = Call(gateway(tmp_path, MODELS), ASK | {"stream": stream}, cookie="a=b", x_secret="s")
    _, action = call.attempt(number)
    assert isinstance(action, Forward) and set(action.set_headers) == COMMON | OWN[number]
    assert action.set_headers["accept"] == ("text/event-stream" if stream else "application/json")
    told = f"{action.set_headers}{action.body!r}"
    assert token() not in told and [key in told for key in KEYS.values()].count(True) == 1


@pytest.mark.parametrize(("number", "path"), [(1, "/v1/messages?beta=true"), (2, "/v1/chat/completions")])
def test_a_query_goes_to_a_provider_of_the_same_dialect(tmp_path: Path, number: int, path: str) -> None:
    call = Call(gateway(tmp_path, MODELS), path="/v1/messages?beta=true")
    _, action = call.attempt(number)
    assert isinstance(action, Forward) and action.set_headers[":path"] == path
