"""Types of an answer in OpenAI's Responses dialect, and of the events of its stream.

https://platform.openai.com/docs/api-reference/responses
"""

from typing import Any

import msgspec

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
