"""OpenAI's Responses dialect as bytes (https://platform.openai.com/docs/api-reference/responses-streaming)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from extproc.errors import Kind, Rejection

PING = b": ping\n\n"

_encode = msgspec.json.Encoder().encode


def event(kind: str, sequence: int, members: Mapping[str, Any]) -> bytes:
    data = _encode({"type": kind, "sequence_number": sequence, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class Frame:
    """All deltas of a part share what stands around the text; built once, since text is the hot path."""

    __slots__ = ("_head", "_middle", "_tail")

    def __init__(self, kind: str, place: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """`place`: which item and part it belongs to; `more`: what every delta says besides."""
        self._head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind.encode(), kind.encode())
        self._middle = b"," + _encode(place)[1:-1] + b',"delta":'
        self._tail = (b"," + _encode(more)[1:-1] if more else b"") + b"}\n\n"

    def said(self, sequence: int, text: str) -> bytes:
        return b"%b%d%b%b%b" % (self._head, sequence, self._middle, _encode(text), self._tail)


_CODES = {Kind.RATE_LIMIT: "rate_limit_exceeded", Kind.INVALID_REQUEST: "invalid_prompt"}


def error(rejection: Rejection) -> dict[str, str]:
    """The `error` of a response that failed; everything is one of a few codes."""
    return {"code": _CODES.get(rejection.kind, "server_error"), "message": rejection.message}


# What every response has; a failed one may have nothing else to say.
_EMPTY: dict[str, Any] = {
    "id": "resp_0",
    "object": "response",
    "created_at": 0,
    "model": "",
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [],
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "usage": None,
}


def failed(rejection: Rejection, sequence: int, known: Mapping[str, Any] | None = None) -> bytes:
    """The last event of a stream that cannot be completed; `known`: members of the response so far."""
    response = {**_EMPTY, **(known or {}), "status": "failed", "error": error(rejection)}
    return event("response.failed", sequence, {"response": response})
