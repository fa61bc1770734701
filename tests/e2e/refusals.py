"""What every refusal has in common, whatever the reason."""

import contextlib
from collections.abc import Iterator

import httpx

from tests.e2e.stack import PROVIDER_KEY, Json, Model, Stack

PROMPT = "my-darkest-secret"


@contextlib.contextmanager
def never_asked(model: Model) -> Iterator[None]:
    """No request reaches the model meanwhile."""
    before = len(model.requests())
    yield
    assert [request["path"] for request in model.requests()[before:]] == []


def refused(stack: Stack, answer: httpx.Response, status: int, kind: str) -> tuple[str, Json]:
    """Message and record of a refusal in Anthropic's words."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert answer.headers["content-type"] == "application/json"
    assert body["request_id"] == answer.headers["request-id"]
    record = stack.record(answer)
    assert record["http.status"] == status
    holds_no_secret(stack, answer)
    return body["error"]["message"], record


def refused_chat(stack: Stack, answer: httpx.Response, status: int, code: str) -> tuple[str, Json]:
    """Message and record of a refusal in OpenAI's words."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (set(answer.json()), error["type"], error["code"]) == ({"error"}, "invalid_request_error", code)
    assert answer.headers["content-type"] == "application/json"
    record = stack.record(answer)
    assert record["http.status"] == status
    holds_no_secret(stack, answer)
    return error["message"], record


def holds_no_secret(stack: Stack, answer: httpx.Response) -> None:
    """Neither the answer nor anything printed so far, this call's record included."""
    said = f"{answer.headers}\n{answer.text}\n{stack.printed}"
    for secret in (stack.good_token, PROVIDER_KEY, PROMPT):
        assert secret not in said
