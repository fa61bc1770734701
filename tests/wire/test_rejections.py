"""One refusal, worded in both dialects."""

import json

import pytest

from extproc.errors import STATUS, Kind, Reason, Rejection, invalid
from extproc.wire import chat, messages
from extproc.wire.rejections import rejection_body, rejection_status


def rejection(kind: Kind, code: str = "", path: str = "") -> Rejection:
    return Rejection(kind=kind, message="no", reason=Reason.INTERNAL, code=code, path=path)


def test_messages() -> None:
    body = json.loads(rejection_body("messages", invalid("max_tokens", "Field required"), "req_1"))
    error = {"type": "invalid_request_error", "message": "max_tokens: Field required"}
    assert body == {"type": "error", "error": error, "request_id": "req_1"}


def test_chat_names_the_parameter() -> None:
    body = json.loads(rejection_body("chat", invalid("tools.0", "bad", code="unsupported_value"), "req_1"))
    error = {
        "message": "tools.0: bad",
        "type": "invalid_request_error",
        "param": "tools.0",
        "code": "unsupported_value",
    }
    assert body == {"error": error}


@pytest.mark.parametrize(
    ("kind", "code", "status", "type_", "told"),
    [
        (Kind.AUTHENTICATION, "", 401, "invalid_request_error", "invalid_api_key"),
        (Kind.BILLING, "", 429, "insufficient_quota", "insufficient_quota"),
        (Kind.NOT_FOUND, "unknown_url", 404, "invalid_request_error", "unknown_url"),
        (Kind.OVERLOADED, "", 503, "service_unavailable_error", "server_is_overloaded"),
        (Kind.API, "", 500, "server_error", None),
    ],
)
def test_chat_wording(kind: Kind, code: str, status: int, type_: str, told: str | None) -> None:
    assert rejection_status("chat", rejection(kind, code)) == status
    error = json.loads(chat.from_rejection(rejection(kind, code)))["error"]
    assert (error["type"], error["code"], error["param"]) == (type_, told, None)


def test_a_missing_model_is_the_parameter() -> None:
    error = json.loads(chat.from_rejection(rejection(Kind.NOT_FOUND, "model_not_found")))["error"]
    assert error["param"] == "model"


def test_every_kind_is_worded() -> None:
    for kind in Kind:
        assert rejection_status("messages", rejection(kind)) == STATUS[kind]
        assert json.loads(rejection_body("chat", rejection(kind), ""))["error"]["type"]


def test_the_error_event_has_no_request_id() -> None:
    raw = messages.error_event("api_error", "no")
    assert raw == b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no"}}\n\n'
