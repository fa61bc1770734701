"""Drives a gateway by events and compares what it wants done, one action after the other.

`assert Playbook(gateway) >> request_headers(...) << rejects(401, "authentication_error")`
An event may only follow when all actions before it have been named. Expectations are partial: members that
are not named may be anything; ABSENT must not be there.
"""

import json
import re
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from extproc.events import (
    Action,
    AnswerBody,
    DeadlineReached,
    Event,
    Headers,
    RequestBody,
    RequestHeaders,
    Respond,
    ResponseBody,
    ResponseHeaders,
)
from extproc.gateway.exchange import Exchange
from extproc.gateway.gateway import Gateway

Json = dict[str, Any]
T = TypeVar("T")
ABSENT = object()
_ANY = re.compile("")
START = 1_000_000.0

ENVOYS_ID = "6f1c2200-0000-0000-0000-000000000000"
OUR_ID = "req_6f1c22000000000000000000"


class Playbook:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.exchange: Exchange = gateway.exchange(START)
        self.now = START
        self.pending: list[Action] = []
        self.told: list[str] = []

    def after(self, seconds: float) -> "Playbook":
        self.now += seconds
        return self

    def __rshift__(self, event: Event) -> "Playbook":
        assert not self.pending, self._failure([f"nobody expected {describe(self.pending[0])}"])
        self.told.append(f">> {shown(event)}")
        self.pending = done(self.gateway.handle(self.exchange, event, self.now))
        return self

    def fail(self) -> "Playbook":
        """As the server does when the gateway raises."""
        self.told.append(">> (a bug)")
        self.pending = self.exchange.fail()
        return self

    def __lshift__(self, expected: Json) -> "Playbook":
        assert self.pending, self._failure([f"nothing was done, expected {expected}"])
        action = describe(self.pending.pop(0))
        self.told.append(f"<< {action}")
        problems = list(differences(action, expected, "$"))
        assert not problems, self._failure(problems)
        return self

    def __bool__(self) -> bool:
        assert not self.pending, self._failure([f"nobody expected {describe(self.pending[0])}"])
        return True

    def _failure(self, problems: list[str]) -> str:
        return "\n".join(["", *self.told, *(f"!! {problem}" for problem in problems)])


def done(steps: Coroutine[Any, Any, T]) -> T:
    """Runs what never waits."""
    try:
        steps.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    raise AssertionError("a step waited")


def describe(action: Action) -> Json:
    """An action as plain values, its body readable."""
    members = {name: getattr(action, name) for name in action.__struct_fields__}
    members["remove_headers"] = list(members.get("remove_headers", ()))
    if "body" in members:
        members |= readable(members["body"], streamed=isinstance(action, AnswerBody))
    headers = members.get("headers" if isinstance(action, Respond) else "set_headers", {})
    return {**members, "action": type(action).__name__, "headers": headers}


def shown(event: Event) -> str:
    members = {name: getattr(event, name) for name in event.__struct_fields__}
    return f"{type(event).__name__} " + " ".join(
        f"{name}={dict(value) if isinstance(value, Headers) else value!r}" for name, value in members.items()
    )


def readable(body: bytes, *, streamed: bool) -> Json:
    try:
        return {"body": json.loads(body) if body else ""}
    except ValueError:
        if not streamed:
            return {"body": body.decode()}
    events = [one for one in body.decode().split("\n\n") if one]
    data = [json.loads(event.partition("data: ")[2] or "{}") for event in events]
    text = "".join(one.get("delta", {}).get("text", "") for one in data)
    return {"body": body, "events": [one.get("type", "comment") for one in data], "data": data, "text": text}


def differences(actual: Any, expected: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            yield from differences(actual.get(key, ABSENT), value, f"{path}.{key}")
    elif isinstance(expected, re.Pattern):
        if not isinstance(actual, str) or not expected.search(actual):
            yield f"{path}: {actual!r} does not match /{expected.pattern}/"
    elif actual != expected or isinstance(actual, bool) is not isinstance(expected, bool):
        yield f"{path}: {_named(actual)} is not {_named(expected)}"


def _named(value: Any) -> str:
    return "absent" if value is ABSENT else repr(value)


def request_headers(
    path: str = "/v1/messages",
    method: str = "POST",
    *,
    token: str | None = None,
    end: bool = False,
    source: str = "",
    **more: str,
) -> RequestHeaders:
    """`more`: header names with `_` for `-`."""
    fields = {":method": method, ":path": path, ":authority": "gateway", "x-request-id": ENVOYS_ID}
    fields |= {"content-type": "application/json", "content-length": "100"} if method == "POST" else {}
    fields |= {"authorization": f"Bearer {token}"} if token else {}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return RequestHeaders(Headers(fields.items()), end, source)


def request_body(body: Json | bytes) -> RequestBody:
    return RequestBody(body if isinstance(body, bytes) else json.dumps(body).encode())


def response_headers(
    status: int = 200, content_type: str = "application/json", *, end: bool = False, details: str = "", **more: str
) -> ResponseHeaders:
    fields = {":status": str(status), "content-type": content_type}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return ResponseHeaders(status, Headers(fields.items()), end, details)


def response_body(body: Json | bytes, *, end: bool = False) -> ResponseBody:
    return ResponseBody(body if isinstance(body, bytes) else json.dumps(body).encode(), end)


DEADLINE_REACHED = DeadlineReached()


def awaits(**record: Any) -> Json:
    return {"action": "AwaitBody", "record": record}


def rejects(
    status: int, kind: str, message: str | re.Pattern[str] = _ANY, *, headers: Json | None = None, **record: Any
) -> Json:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": _ANY}
    return answers(body, status, headers=headers, **record)


def answers(body: Any, status: int = 200, *, headers: Json | None = None, **record: Any) -> Json:
    return {"action": "Respond", "status": status, "body": body, "headers": headers or {}, "record": record}


def forwards(body: Json, headers: Json | None = None, **record: Any) -> Json:
    return {"action": "Forward", "body": body, "headers": headers or {}, "record": record}


def begins(status: int = 200, headers: Json | None = None, **record: Any) -> Json:
    return {"action": "BeginAnswer", "status": status, "headers": headers or {}, "record": record}


def says(*, end: bool, record: Json | None = None, **members: Any) -> Json:
    """A piece of the answer: `body` for JSON, `events`, `text` or `data` for a stream."""
    return {"action": "AnswerBody", "end": end, "record": record or {}, **members}
