"""Types of an answer in OpenAI's Chat Completions dialect, and its errors."""

from typing import Any

import msgspec

from extproc.errors import Kind, Rejection

# Decoded leniently by wire/lenient.py where a vendor's types differ from these.


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


class Said(msgspec.Struct):
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
    message: Said | None = None
    delta: Said | None = None
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
    Kind.BILLING: (429, "insufficient_quota", "insufficient_quota"),
    Kind.PERMISSION: (403, "invalid_request_error", "insufficient_permissions"),
    Kind.NOT_FOUND: (404, "invalid_request_error", None),
    Kind.CONFLICT: (409, "invalid_request_error", "conflict"),
    Kind.TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    Kind.RATE_LIMIT: (429, "rate_limit_error", "rate_limit_exceeded"),
    Kind.API: (0, "server_error", None),
    Kind.TIMEOUT: (0, "server_error", "timeout"),
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
