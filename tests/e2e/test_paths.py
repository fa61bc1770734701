"""However a path is spelled, policy sees the one that is routed, and without a token nothing is served."""

import json

import pytest

from tests.e2e import wire
from tests.e2e.refusals import PROMPT, never_asked, refused
from tests.e2e.stack import Model, Stack, prompt

BODY = json.dumps(prompt(PROMPT)).encode()

SERVED = [
    "/v1/messages?beta=true",
    "//v1/messages",
    "/v1//messages",
    "/v1/./messages",
    "/v1/x/../messages",
    "/v1/x/%2e%2e/messages",
    "/../v1/messages",
    "/v1/%6dessages",
    "/v1%2fmessages",
    "/v1%5Cmessages",
    "http://elsewhere.example/v1/messages",
    "http://elsewhere.example//v1/%6Dessages?beta=true",
    "/anthropic/v1/messages",
]
UNKNOWN = [
    "/v1/messages%2f..",
    "/v1/messages%3fbeta=true",
    "/v1/messages;a=b",
    "/v1/messages%",
    "/V1/messages",
    "/v1/messages/../..",
    "/v1/messages/count_tokens/../x",
]
MALFORMED = ["/v1/messages%00", "/v1/messages#x", "v1/messages", "*"]


@pytest.mark.parametrize("target", [*SERVED, *UNKNOWN, "/v1/messages/"])
def test_no_spelling_goes_round_the_check(stack: Stack, model: Model, target: str) -> None:
    with never_asked(model):
        answer = wire.send(stack.url, target=target, body=BODY)
    refused(stack, answer, 401, "authentication_error")


@pytest.mark.parametrize("target", SERVED)
def test_a_spelling_of_a_known_path_is_served_as_that_path(stack: Stack, target: str) -> None:
    answer = wire.send(stack.url, f"authorization: Bearer {stack.good_token}", target=target, body=BODY)
    assert answer.status_code == 200 and answer.json()["type"] == "message"
    assert stack.record(answer)["http.path"] in ("/v1/messages", "/anthropic/v1/messages")


@pytest.mark.parametrize("target", UNKNOWN)
def test_any_other_path_is_unknown(stack: Stack, model: Model, target: str) -> None:
    with never_asked(model):
        answer = wire.send(stack.url, f"authorization: Bearer {stack.good_token}", target=target, body=BODY)
    _, record = refused(stack, answer, 404, "not_found_error")
    assert record["error"] == "unknown_path"


@pytest.mark.parametrize("target", MALFORMED)
def test_what_is_no_path_gets_as_far_as_envoy(stack: Stack, model: Model, target: str) -> None:
    with never_asked(model):
        answer = wire.send(stack.url, f"authorization: Bearer {stack.good_token}", target=target, body=BODY)
    assert answer.status_code == 400
    assert answer.json()["error"] == {"type": "invalid_request_error", "message": "the HTTP request is malformed"}


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_the_start_probes_need_no_token(stack: Stack, model: Model, path: str) -> None:
    with never_asked(model):
        answer = stack.call(path=path, method="HEAD", token=None)
    assert answer.status_code == 200 and not answer.content
    assert stack.record(answer)["gen_ai.operation.name"] == "probe"
    refused(stack, stack.call(path=path, method="GET", token=None), 401, "authentication_error")
