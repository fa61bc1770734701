"""What an answer of Anthropic's dialect is decoded into: a whole message, or the events of its stream.

Decoded leniently by wire/lenient.py; a type that is not known here is no error, since new ones come at any time.
"""

from typing import Any

import msgspec


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
    input: Any = None
    content: Any = None
    """Compaction: a summary; results of server tools hold other things there."""


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
