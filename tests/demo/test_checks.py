from typing import Any

import msgspec

from extproc.demo import checks


def answer(status: int, body: object, **headers: str) -> checks.Answer:
    return checks.Answer(status, headers, msgspec.json.encode(body))


def error(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_1"}


MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "f"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    {"type": "message_stop"},
]


def weather() -> list[dict[str, Any]]:
    start = {**EVENTS[1], "content_block": {"type": "tool_use", "name": "get_weather"}}
    return [EVENTS[0], start, *EVENTS[2:]]


def stream(events: list[dict[str, Any]]) -> checks.Answer:
    body = b"".join(b"event: x\r\ndata: " + msgspec.json.encode(event) + b"\r\n\r\n" for event in events)
    return checks.Answer(200, {}, body)


def test_unauthenticated() -> None:
    good = answer(401, error("authentication_error"), **{"www-authenticate": 'Bearer realm="x"'})
    assert checks.unauthenticated(good) == []
    assert checks.unauthenticated(answer(401, error("authentication_error"))) == [
        "www_authenticate is '', not 'Bearer'"
    ]
    assert checks.unauthenticated(answer(200, MESSAGE))[:2] == [
        "status is 200, not 401",
        "type is 'message', not 'error'",
    ]


def test_forbidden() -> None:
    assert checks.forbidden(answer(403, error("permission_error"))) == []
    assert checks.forbidden(answer(403, {**error("api_error"), "request_id": None})) == [
        "error_type is 'api_error', not 'permission_error'",
        "request_id is False, not True",
    ]
    for garbage in (b"", b"<html>", b"[1]", b'{"error": "flat"}', b"\xff"):
        assert checks.forbidden(checks.Answer(403, {}, garbage))


def test_message() -> None:
    assert checks.message(answer(200, MESSAGE)) == []
    assert checks.message(answer(200, {**MESSAGE, "content": []})) == ["content_blocks is False, not True"]
    assert checks.message(answer(200, {**MESSAGE, "usage": {"input_tokens": 1}})) == ["usage_given is False, not True"]


def test_tool_stream() -> None:
    check = checks.tool_stream("f")
    assert check(stream(EVENTS)) == []
    assert check(stream(EVENTS[:-1])) == ["last_event is ['message_delta'], not ['message_stop']"]
    assert check(stream([*EVENTS[:3], *EVENTS[4:]])) == ["arguments_are_an_object is False, not True"]
    assert checks.tool_stream("g")(stream(EVENTS)) == ["tool_called is ['f'], not ['g']"]
    assert check(checks.Answer(200, {}, b"data: {"))
    assert check(answer(401, error("authentication_error")))[0] == "status is 401, not 200"
