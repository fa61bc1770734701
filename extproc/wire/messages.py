"""Anthropic's Messages dialect: the bytes of events and errors, and what an answer is decoded into.

https://platform.claude.com/docs/en/api/messages, https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from extproc.errors import Rejection

# Anthropic sends pings at any place of a stream, so that clients expect them there:
# https://platform.claude.com/docs/en/build-with-claude/streaming#ping-events.
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
# A comment, which every reader of SSE skips, also before `message_start`, where a client would not expect a ping:
# https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
KEEP_ALIVE = b": keep-alive\n\n"
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_encode = msgspec.json.Encoder().encode

# Delta type -> the member that carries its text.
DELTA_MEMBER = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


# The name stands twice, in the field `event` and in the member `type`, and clients read both: to Claude Code a stream
# without names is an empty one (https://platform.claude.com/docs/en/build-with-claude/streaming).
def event(name: str, members: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **members}))


def message_start(message: Mapping[str, Any]) -> bytes:
    return event("message_start", {"message": message})


def block_start(index: int, block: Mapping[str, Any]) -> bytes:
    return event("content_block_start", {"index": index, "content_block": block})


def block_stop(index: int) -> bytes:
    return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index


def delta_prefix(index: int, kind: str) -> bytes:
    """Returns the bytes before the encoded text in every delta of a block. Built once, since deltas are the hot
    path."""
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
    return head % (index, kind.encode(), DELTA_MEMBER[kind].encode())


def delta(prefix: bytes, text: str) -> bytes:
    return prefix + _encode(text) + b"}}\n\n"


# The counts in it are those of the whole message so far, and replace the ones of `message_start`:
# https://platform.claude.com/docs/en/build-with-claude/streaming#event-types.
def message_delta(delta: Mapping[str, Any], usage: Mapping[str, Any]) -> bytes:
    return event("message_delta", {"delta": delta, "usage": usage})


# Codes that clients react to: the SDK's tool runner sends the whole conversation again.
DETAILED = frozenset({"thread_unsupported_request"})


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "message": message}


# SDKs show the request's id in their exceptions: https://platform.claude.com/docs/en/api/errors#request-id.
def error_body(kind: str, message: str, request_id: str, code: str = "") -> bytes:
    error = _error(kind, message)
    if code in DETAILED:
        error["details"] = {"error_code": code}
    return _encode({"type": "error", "error": error, "request_id": request_id})


# An error may come in the midst of a stream, when the status is long gone:
# https://platform.claude.com/docs/en/build-with-claude/streaming#error-events.
def error_event(kind: str, message: str) -> bytes:
    return event("error", {"error": _error(kind, message)})


def from_rejection(rejection: Rejection, request_id: str) -> bytes:
    return error_body(rejection.kind, rejection.message, request_id, rejection.code)


# A whole message, or the events of its stream. Decoded leniently by wire/lenient.py; a type that is not known here is
# no error, since new ones come at any time: https://platform.claude.com/docs/en/api/versioning


class Citation(msgspec.Struct, gc=False):
    type: str | None = None
    url: str | None = None
    title: str | None = None


class Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    citations: list[Citation] | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    # A stream begins a call with an empty object here and sends the JSON of its input as deltas; a whole message has
    # all of it.
    input: Any = None
    content: Any = None
    """Compaction: a summary; results of server tools hold other things there."""
    encrypted_content: str | None = None
    tool_changes: Any = None


class StopDetails(msgspec.Struct, gc=False):
    explanation: str | None = None


class Delta(msgspec.Struct):
    """A change of a block or of the message."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    content: Any = None
    encrypted_content: str | None = None
    citation: Citation | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Message(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class Event(msgspec.Struct):
    type: str | None = None
    index: int | None = None
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
