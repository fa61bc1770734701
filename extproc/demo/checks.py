"""Checks of the gateway's answers. Each returns the differences, an empty list if there are none. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes

    def json(self) -> Json:
        try:
            body = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return body if isinstance(body, dict) else {}

    def events(self) -> list[Json]:
        lines = self.body.decode("utf-8", "replace").splitlines()
        try:
            return [msgspec.json.decode(line[5:]) for line in lines if line.startswith("data:")]
        except msgspec.DecodeError:
            return []


Check = Callable[[Answer], list[str]]


def expected(**pairs: tuple[object, object]) -> list[str]:
    """Returns the pairs that differ. Each pair: the actual and the expected value."""
    return [f"{name} is {came!r:.60}, not {right!r}" for name, (came, right) in pairs.items() if came != right]


def unauthenticated(answer: Answer) -> list[str]:
    challenge = answer.headers.get("www-authenticate", "").partition(" ")[0]
    return _refused(answer, 401, "authentication_error") + expected(www_authenticate=(challenge, "Bearer"))


def forbidden(answer: Answer) -> list[str]:
    return _refused(answer, 403, "permission_error")


def _refused(answer: Answer, status: int, kind: str) -> list[str]:
    body = answer.json()
    error = body.get("error")
    found = error.get("type") if isinstance(error, dict) else None
    named = isinstance(body.get("request_id"), str)
    return expected(
        status=(answer.status, status),
        type=(body.get("type"), "error"),
        error_type=(found, kind),
        request_id=(named, True),
    )


def message(answer: Answer) -> list[str]:
    body = answer.json()
    usage = body.get("usage")
    counted = isinstance(usage, dict) and all(
        isinstance(usage.get(f"{way}_tokens"), int) for way in ("input", "output")
    )
    return expected(
        status=(answer.status, 200),
        type=(body.get("type"), "message"),
        role=(body.get("role"), "assistant"),
        content_blocks=(bool(body.get("content")), True),
        stop_reason_given=(isinstance(body.get("stop_reason"), str), True),
        usage_given=(counted, True),
    )


def tool_stream(name: str) -> Check:
    def check(answer: Answer) -> list[str]:
        events = answer.events()
        kinds = [event.get("type") for event in events]
        blocks = [event["content_block"] for event in events if event.get("type") == "content_block_start"]
        called = [block.get("name") for block in blocks if block.get("type") == "tool_use"]
        stops = [event["delta"].get("stop_reason") for event in events if event.get("type") == "message_delta"]
        return expected(
            status=(answer.status, 200),
            first_event=(kinds[:1], ["message_start"]),
            tool_called=(called, [name]),
            arguments_are_an_object=(isinstance(tool_input(events), dict), True),
            stop_reason=(stops, ["tool_use"]),
            last_event=(kinds[-1:], ["message_stop"]),
        )

    return check


def tool_input(events: list[Json]) -> object:
    deltas = [event["delta"] for event in events if event.get("type") == "content_block_delta"]
    try:
        return msgspec.json.decode("".join(delta.get("partial_json", "") for delta in deltas))
    except msgspec.DecodeError:
        return None
