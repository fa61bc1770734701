"""Over HTTP/2 as over HTTP/1.1: no game with pseudo-headers or fields gets a stranger to the model."""

import json

import pytest

from tests.e2e import http2
from tests.e2e.http2 import Fields
from tests.e2e.refusals import PROMPT, holds_no_secret, never_asked, refused, refused_chat
from tests.e2e.stack import Model, Stack, prompt

BODY = json.dumps(prompt(PROMPT)).encode()
PSEUDO: dict[str, str] = {":method": "POST", ":scheme": "http", ":authority": "gateway", ":path": "/v1/messages"}
FIELDS: Fields = [("content-type", "application/json")]
TOKEN = ("authorization", "Bearer {token}")


def asks(*fields: tuple[str, str], **pseudo: str | None) -> Fields:
    """`pseudo`: other values, None for none."""
    named = PSEUDO | {f":{name}": value for name, value in pseudo.items() if value is not None}
    kept = [(name, value) for name, value in named.items() if pseudo.get(name[1:], "") is not None]
    return [*kept, *FIELDS, *fields]


# What is wrong, and what the record says.
UNPROVEN: dict[str, tuple[Fields, str]] = {
    "no token": (asks(), "credential_missing"),
    "two tokens": (asks(TOKEN, ("authorization", "Bearer another")), "two_credentials"),
    "the same token twice": (asks(TOKEN, TOKEN), "two_credentials"),
    "a key beside a token": (asks(TOKEN, ("x-api-key", "another")), "two_credentials"),
    "a token in crumbs of a cookie": (asks(("cookie", "authorization="), ("cookie", "{token}")), "credential_missing"),
    "a path of its own": (asks(path="//v1/./messages"), "credential_missing"),
    "another authority": (asks(("host", "gateway"), authority="api.openai.com"), "credential_missing"),
    "a verdict": (asks(("extproc.verdict", "allow")), "credential_missing"),
}
# Turned away by Envoy, with a 400 or by a reset, though the token is good.
MALFORMED: dict[str, Fields] = {
    "two paths": [*asks(), (":path", "/api/hello"), TOKEN],
    "two methods": [(":method", "HEAD"), *asks(TOKEN)],
    "a pseudo-header behind a field": [TOKEN, *asks()],
    "an unknown pseudo-header": [(":verdict", "allow"), *asks(TOKEN)],
    "an answer's pseudo-header": [(":status", "200"), *asks(TOKEN)],
    "no path": asks(TOKEN, path=None),
    "an empty path": asks(TOKEN, path=""),
    "a path without a slash": asks(TOKEN, path="v1/messages"),
    "a path with a blank": asks(TOKEN, path="/v1/messages HTTP/1.1"),
    "a path with a line break": asks(TOKEN, path="/v1/messages\r\nx: y"),
    "no method": asks(TOKEN, method=None),
    "a method with a blank": asks(TOKEN, method="POST /v1/messages"),
    "no scheme": asks(TOKEN, scheme=None),
    "capitals": asks(("Authorization", "Bearer {token}")),
    "an underscore": asks(TOKEN, ("x_api_key", "a")),
    "a connection header": asks(TOKEN, ("connection", "authorization")),
    "chunks": asks(TOKEN, ("transfer-encoding", "chunked")),
    "a line break in a value": asks(TOKEN, ("x-a", "b\r\nauthorization: Bearer {token}")),
    "a zero in a value": asks(TOKEN, ("x-a", "b\x00")),
    "a blank in a name": asks(TOKEN, ("x a", "b")),
    "a colon in a name": asks(("authorization:x", "b"), TOKEN),
    "a length that is not true": asks(TOKEN, ("content-length", "1")),
    "two lengths": asks(TOKEN, ("content-length", str(len(BODY))), ("content-length", "1")),
}


def filled(stack: Stack, fields: Fields) -> Fields:
    return [(name, value.replace("{token}", stack.good_token)) for name, value in fields]


def test_it_is_http2_that_is_spoken(stack: Stack) -> None:
    answer = http2.send(stack.url, filled(stack, asks(TOKEN)), BODY)
    assert answer is not None and answer.status_code == 200 and answer.json()["type"] == "message"


@pytest.mark.parametrize("name", UNPROVEN)
def test_a_stranger(stack: Stack, model: Model, name: str) -> None:
    fields, error = UNPROVEN[name]
    with never_asked(model):
        answer = http2.send(stack.url, filled(stack, fields), BODY)
    assert answer is not None
    _, record = refused(stack, answer, 401, "authentication_error")
    assert (record["reason"], record["error"]) == ("JwtAuth", error)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request(stack: Stack, model: Model, name: str) -> None:
    with never_asked(model):
        answer = http2.send(stack.url, filled(stack, MALFORMED[name]), BODY)
    if answer is not None:
        assert answer.status_code == 400, answer.text
        holds_no_secret(stack, answer)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_request_of_headers_and_trailers(stack: Stack, model: Model, path: str) -> None:
    """Envoy hands over no body then. It is the caller's mistake, and no outage of the provider's."""
    with never_asked(model):
        answer = http2.send(stack.url, filled(stack, asks(TOKEN, path=path)), None, trailers=[("checksum", "1")])
    assert answer is not None
    message, record = refused(stack, answer, 400, "invalid_request_error")
    assert message == "a JSON body is required"
    assert (record["reason"], record["error"]) == ("InvalidRequest", "invalid:body")


def test_a_request_of_headers_and_trailers_in_the_other_dialect(stack: Stack, model: Model) -> None:
    fields = filled(stack, asks(TOKEN, path="/v1/chat/completions"))
    with never_asked(model):
        answer = http2.send(stack.url, fields, None, trailers=[("checksum", "1")])
    assert answer is not None
    message, record = refused_chat(stack, answer, 400, "invalid_value")
    assert (message, record["reason"]) == ("a JSON body is required", "InvalidRequest")


def test_trailers_behind_a_body(stack: Stack) -> None:
    answer = http2.send(stack.url, filled(stack, asks(TOKEN)), BODY, trailers=[("checksum", "1")])
    assert answer is not None and answer.status_code == 200 and answer.json()["type"] == "message"
