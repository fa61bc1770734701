"""An answer in OpenAI's Chat Completions dialect: its types, its errors, and the bytes of a stream's chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from extproc.errors import Kind, Rejection

# Decoded leniently by wire/lenient.py where a vendor's types differ from these.


# In a stream the name comes with the first fragment of a call and the arguments in pieces:
# https://platform.openai.com/docs/guides/function-calling#streaming.
class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None
    """A string of JSON; some servers send the object itself."""


class Custom(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Any = None
    """Gemini: `google.thought_signature`."""

    @property
    def is_custom(self) -> bool:
        """The type decides, then which member is filled: Snowflake sends an empty `custom` beside each `function`."""
        if self.type in {"function", "custom"}:
            return self.type == "custom"
        function = self.function is not None and (self.function.name or self.function.arguments is not None)
        return self.custom is not None and not function

    @property
    def named(self) -> str:
        return (self.custom and self.custom.name if self.is_custom else self.function and self.function.name) or ""

    @property
    def given(self) -> Any:
        """Returns the arguments, or the input of a custom tool."""
        if self.is_custom:
            return self.custom.input if self.custom else None
        return self.function.arguments if self.function else None


class AnswerMessage(msgspec.Struct):
    """A `message` of an answer, or the `delta` of one."""

    content: Any = None
    """Text; Mistral sends a list of typed chunks."""
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    annotations: Any = None
    audio: Any = None


class Choice(msgspec.Struct):
    index: int | None = None
    message: AnswerMessage | None = None
    delta: AnswerMessage | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    """vLLM: the stop string or token that matched."""
    matched_stop: Any = None
    """The same in SGLang."""
    error: Any = None
    logprobs: Any = None


class Completion(msgspec.Struct):
    """A whole answer or a chunk of a stream."""

    id: str | None = None
    object: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    service_tier: str | None = None
    error: Any = None
    x_groq: dict[str, Any] | None = None
    """Groq counts the tokens of a stream in its `usage`, unless asked for OpenAI's."""

    @property
    def counts(self) -> dict[str, Any] | None:
        """Returns the usage, from `usage` or Groq's `x_groq`."""
        inner = self.x_groq.get("usage") if self.x_groq and not self.usage else None
        return self.usage or (inner if isinstance(inner, dict) else None)


# Kind -> status, type, code. OpenAI's SDK picks the exception by status (mapping 5.3, 5.4).
_WORDING: dict[Kind, tuple[int, str, str | None]] = {
    Kind.INVALID_REQUEST: (0, "invalid_request_error", None),
    Kind.AUTHENTICATION: (401, "invalid_request_error", "invalid_api_key"),
    # OpenAI's status for a spent quota; it has no 402.
    Kind.BILLING: (429, "insufficient_quota", "insufficient_quota"),
    Kind.PERMISSION: (403, "invalid_request_error", "insufficient_permissions"),
    Kind.NOT_FOUND: (404, "invalid_request_error", None),
    Kind.CONFLICT: (409, "invalid_request_error", "conflict"),
    Kind.TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    Kind.RATE_LIMIT: (429, "rate_limit_error", "rate_limit_exceeded"),
    Kind.API: (0, "server_error", None),
    Kind.TIMEOUT: (0, "server_error", "timeout"),
    # 529 is Anthropic's own.
    Kind.OVERLOADED: (503, "service_unavailable_error", "server_is_overloaded"),
}


def error_body(message: str, type: str, param: str | None = None, code: str | None = None) -> bytes:
    """Returns the body of an error; OpenAI always sends all four members."""
    return msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def status(rejection: Rejection) -> int:
    return _WORDING[rejection.kind][0] or rejection.http_status


def from_rejection(rejection: Rejection) -> bytes:
    _, kind, code = _WORDING[rejection.kind]
    param = rejection.path or ("model" if rejection.code == "model_not_found" else None)
    return error_body(rejection.message, rejection.type or kind, param, rejection.code or code)


# No JSON: clients end on it, and some wait for it even where a finish reason has come before
# (https://platform.openai.com/docs/api-reference/chat-streaming).
DONE = b"data: [DONE]\n\n"
# Chat knows no event for it; a comment is skipped by every reader of SSE.
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

    def message(self, frame: Frame, text: str) -> bytes:
        return self._open + frame[0] + _encode(text) + frame[1] + self._tail

    def delta(self, delta: Mapping[str, Any]) -> bytes:
        return self._open + _encode(delta) + self._tail

    def logprobs(self, found: Sequence[Any]) -> bytes:
        """Returns a chunk with the log probabilities of the text so far, and without text."""
        # Logprobs are a member of the choice, not of its delta.
        choice = b'{"index":0,"delta":{},"logprobs":{"content":%b,"refusal":null},"finish_reason":null}]' % _encode(
            found
        )
        return self._head + choice + self._usage + b"}\n\n"

    def finish(self, reason: str) -> bytes:
        choice = b'{"index":0,"delta":{},"finish_reason":' + _encode(reason) + b"}]"
        return self._head + choice + self._usage + b"}\n\n"

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        # The chunk with the usage is the last one and has no choice:
        # https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options.
        return self._head + b'],"usage":' + _encode(usage) + b"}\n\n"
