"""OpenAI's Responses dialect: what an answer and the events of its stream are decoded into, and the bytes of events.

https://platform.openai.com/docs/api-reference/responses, https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from extproc.errors import Kind, Rejection

# Decoded leniently by wire/lenient.py where a vendor's types differ from these.


class Part(msgspec.Struct):
    """A part of a message's content or of the reasoning in an item."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Item(msgspec.Struct):
    """An item of an answer's output."""

    type: str | None = None
    id: str | None = None
    content: list[Part] | None = None
    summary: list[Part] | None = None
    # Reasoning that only OpenAI can read; sent where `include` asks for it, which is how it travels without being
    # stored there: https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items.
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    """A string of JSON."""
    input: str | None = None
    """The input of a custom tool."""
    status: str | None = None


class Incomplete(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    id: str | None = None
    object: str | None = None
    model: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: Incomplete | None = None
    output: list[Item] | None = None
    usage: dict[str, Any] | None = None
    service_tier: str | None = None


class Event(msgspec.Struct):
    """An event of a stream. Its members depend on its type."""

    type: str | None = None
    response: Response | None = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item: Item | None = None
    delta: str | None = None
    logprobs: list[Any] | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: Any = None
    input: str | None = None
    error: Any = None


# A comment, which every reader of SSE skips.
PING = b": ping\n\n"

_encode = msgspec.json.Encoder().encode


def event(kind: str, sequence: int, members: Mapping[str, Any]) -> bytes:
    # Events are numbered, so that a client can tell whether it has missed one.
    data = _encode({"type": kind, "sequence_number": sequence, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class Frame:
    """Writes the text deltas of one part. Their common part is encoded once, since they are the hot path."""

    __slots__ = ("_head", "_middle", "_tail")

    def __init__(self, kind: str, place: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """`place`: the item and part that the deltas belong to; `more`: further members of each delta."""
        self._head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind.encode(), kind.encode())
        self._middle = b"," + _encode(place)[1:-1] + b',"delta":'
        self._tail = (b"," + _encode(more)[1:-1] if more else b"") + b"}\n\n"

    def said(self, sequence: int, text: str) -> bytes:
        return b"%b%d%b%b%b" % (self._head, sequence, self._middle, _encode(text), self._tail)


# https://platform.openai.com/docs/api-reference/responses/object#responses-object-error
_CODES = {Kind.RATE_LIMIT: "rate_limit_exceeded", Kind.INVALID_REQUEST: "invalid_prompt"}


def error(rejection: Rejection) -> dict[str, str]:
    """Returns the `error` of a failed response. OpenAI has a closed list of codes for it."""
    return {"code": _CODES.get(rejection.kind, "server_error"), "message": rejection.message}


# Members of every response, failed ones included.
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
    """Returns the last event of a stream that cannot be completed. `known`: members of the response so far."""
    response = {**_EMPTY, **(known or {}), "status": "failed", "error": error(rejection)}
    return event("response.failed", sequence, {"response": response})
