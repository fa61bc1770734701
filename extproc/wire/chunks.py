"""Chat Completions as bytes: the chunks of a stream (https://platform.openai.com/docs/api-reference/chat-streaming)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_encode = msgspec.json.Encoder().encode


Frame = tuple[bytes, bytes]
"""The bytes before and after the text of a delta."""

CONTENT: Frame = (b'{"content":', b"}")
REASONING: Frame = (b'{"reasoning_content":', b"}")
FUNCTION_ARGUMENTS: Frame = (b'{"function_call":{"arguments":', b"}}")


def call_arguments(index: int) -> Frame:
    return b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index, b"}}]}"


class Chunks:
    """Writes the chunks of one answer. Their common part is encoded once, since text deltas are the hot path."""

    __slots__ = ("_head", "_open", "_tail", "_usage")

    def __init__(self, id: str, created: int, model: str, *, include_usage: bool) -> None:
        shared = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        # With `include_usage` every chunk has the member, and only the last a value.
        self._usage = b',"usage":null' if include_usage else b""
        self._head = b"data: " + _encode(shared)[:-1] + b',"choices":['
        self._open = self._head + b'{"index":0,"delta":'
        self._tail = b',"finish_reason":null}]' + self._usage + b"}\n\n"

    def said(self, frame: Frame, text: str) -> bytes:
        return self._open + frame[0] + _encode(text) + frame[1] + self._tail

    def delta(self, delta: Mapping[str, Any]) -> bytes:
        return self._open + _encode(delta) + self._tail

    def logprobs(self, found: Sequence[Any]) -> bytes:
        """Returns a chunk with the log probabilities of the text so far, and without text."""
        choice = b'{"index":0,"delta":{},"logprobs":{"content":%b,"refusal":null},"finish_reason":null}]' % _encode(
            found
        )
        return self._head + choice + self._usage + b"}\n\n"

    def finish(self, reason: str) -> bytes:
        choice = b'{"index":0,"delta":{},"finish_reason":' + _encode(reason) + b"}]"
        return self._head + choice + self._usage + b"}\n\n"

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        return self._head + b'],"usage":' + _encode(usage) + b"}\n\n"
