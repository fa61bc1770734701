"""What a provider's error body says, in any vendor's form, without keys and addresses (docs/mapping.md 5.1), and
whether it refuses a prompt that is too long, images or documents (5.2)."""

import re
from typing import Any, Literal

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.translate.pair import Json
from extproc.wire.lenient import Undecodable, loads


def truncated(message: str) -> Rejection:
    return failure(message, "truncated", Reason.TRUNCATED)


def failure(message: str, detail: str, reason: Reason = Reason.UPSTREAM) -> Rejection:
    return Rejection(kind=Kind.API, message=message, reason=reason, detail=detail, status=502)


class ProviderError(msgspec.Struct, frozen=True):
    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    members: Json = {}
    """The error object itself; llama.cpp counts tokens there."""
    inner_code: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Everything that names the error, lower-case, most telling first."""
        return tuple(word.lower() for word in (self.code, self.inner_code, self.type) if word)


def parse_error(body: Any) -> ProviderError:
    """Nothing is told by HTML or other text: that is never forwarded."""
    if isinstance(body, bytes):
        try:
            body = loads(body)
        except Undecodable:
            return ProviderError()
    # Gemini's OpenAI layer wraps its errors in a list.
    if isinstance(body, list) and body:
        body = body[0]
    return _of_object(body) if isinstance(body, dict) else ProviderError()


def _of_object(body: Json) -> ProviderError:
    error = body.get("error")
    if isinstance(error, dict):
        return _of_error(error)
    # Ollama and TGI send a text alone, older vLLM the members without an object around them (docs/mapping.md 5.1).
    if isinstance(error, str) and error:
        return ProviderError(message=error, code=_word(body.get("code")), type=_word(body.get("type")))
    if isinstance(body.get("message"), str | dict | list):
        return _of_error(body)
    return _of_detail(body.get("detail"))


def _of_error(error: Json) -> ProviderError:
    # Azure's filter names itself there: `ResponsibleAIPolicyViolation`.
    inner = error.get("innererror")
    return ProviderError(
        message=_message(error),
        code=_word(error.get("code")) or _word(error.get("status")) or _word(error.get("status_code")),
        type=_word(error.get("type")),
        param=_word(error.get("param")),
        members=error,
        inner_code=_word(inner.get("code")) if isinstance(inner, dict) else "",
    )


def _message(error: Json) -> str:
    message = error.get("message")
    text = message if isinstance(message, str) else _inner(message)
    # https://openrouter.ai/docs/api-reference/errors#provider-errors
    metadata = error.get("metadata")
    raw = _raw(metadata.get("raw")) if isinstance(metadata, dict) else ""
    return f"{text}: {raw}" if text and raw and raw not in text else raw or text


def _inner(message: Any) -> str:
    """Mistral's refusal of a member is an object, with FastAPI's `detail`."""
    if message is None:
        return ""
    found = parse_error(message).message or _of_detail(message).message
    return found or msgspec.json.encode(message).decode()


def _raw(raw: Any) -> str:
    """OpenRouter wraps the provider's own error, often as JSON in a string."""
    if isinstance(raw, str):
        try:
            raw = loads(raw)
        except Undecodable:
            return "" if raw.lstrip().startswith("<") else raw
    return parse_error(raw).message


def _of_detail(detail: Any) -> ProviderError:
    # FastAPI's errors are a text, or a list of what is wrong and where.
    if isinstance(detail, str):
        return ProviderError(message=detail)
    if isinstance(detail, dict):
        return _of_object(detail)
    items = [item for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []
    return ProviderError(message="; ".join(text for item in items if (text := _located(item))))


def _located(item: Json) -> str:
    message, loc = item.get("msg"), item.get("loc")
    if not isinstance(message, str):
        return ""
    path = ".".join(str(part) for part in loc) if isinstance(loc, list) else ""
    return f"{path}: {message}" if path else message


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int) else ""


MAX_CHARS = 4096

# Vendors quote keys, whole or in part, when they refuse them.
_KEY = re.compile(
    r"\b(?:(?:sk|pk|rk|xai|nvapi|csk|pplx)-|(?:gsk|hf|fw|r8)_|AIza)[A-Za-z0-9_*.-]{3,}|\bBearer +[^\s\"']+"
    r"|\b[0-9a-f]{32,}\b|(?:(?<=key[:=])|(?<=key[:=] ))[A-Za-z0-9_.~+/-]{16,}=*",
    re.IGNORECASE,
)
_URL = re.compile(r"\b(?:https?|wss?|grpc)://[^\s\"'<>)\]}]+", re.IGNORECASE)
_HOST = re.compile(
    r"\b(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:com|net|org|ai|io|dev|cloud|app|local|internal|svc|lan|corp|cn|eu)"
    r"(?:\.[a-z]{2,})?(?::\d+)?(?:/[^\s\"'<>)\]}]*)?(?![a-z0-9_-])",
    re.IGNORECASE,
)
# Any host that can be told from other words: by a port behind it, or by a version in its path.
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\blocalhost(?::\d+)?\b|\[[0-9a-f]*:[0-9a-f:.]*\](?::\d+)?"
    r"|(?<![\w.-])(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+|/v\d[^\s\"'<>)\]}]*)"
    r"|(?<![\w.-])(?=[a-z0-9]*[-0-9])[a-z][a-z0-9-]*:\d{4,5}\b",
    re.IGNORECASE,
)


def scrubbed(message: str) -> str:
    return hidden(message[: 2 * MAX_CHARS]).strip()[:MAX_CHARS]


def hidden(text: str) -> str:
    text = _KEY.sub("[key]", text)
    for pattern in (_URL, _HOST, _ADDRESS):
        text = pattern.sub("[address]", text)
    return text


# Refusals in words on which Claude Code goes on: from 2.1.332 it looks for the token in the message of an error, and
# compacts, or replaces the blocks by a note. Otherwise the session would end: the block stays in the history, so that
# every later turn is refused as well.

Capability = Literal["prompt_too_long", "document_block", "image_block"]


def rejected(message: str, capability: Capability) -> str:
    """The message with its token."""
    token = f"capability_rejected: {capability}"
    return message if token in message else f"{message} ({token})"


# Claude Code up to 2.1.197 compacts a conversation on these words alone.
_PREFIX = "prompt is too long"
# Anthropic's own wording of a max_tokens that does not fit: clients lower it and go on.
_OUTPUT_TOO_LARGE = "input length and `max_tokens` exceed context limit"
# GitHub Models answer 413, TGI 422, some servers 500.
_OVERFLOW_STATUSES = frozenset((400, 413, 422, 500))
_CODES = frozenset((
    "context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded", "context_too_large",
    "too_many_prompt_tokens",  # Perplexity
    "tokens_limit_reached",  # GitHub Models
))  # fmt: skip
# Every server has its own sentence for a prompt that is too long; few have a code.
_MARKS = (
    "maximum context length",
    "context window",
    "context size",
    "too many tokens",
    _PREFIX,
    "context length",
    "context limit",
    "maximum prompt length",
    "maximum model length",
    "maximum number of tokens allowed",
    "model token limit",
    "input is too long",
    "prompt too long",
    "prompt exceeds max length",
    "range of input length",
    "`max_new_tokens` must be <=",
    "`inputs` must have less than",
    "exceed the configured limit",
)
_N = r"\(?\[?(?:about )?(\d[\d,_]*)(?![\w-])"
# Where a message names the limit; earlier patterns are the more telling ones. What is behind "by" is an excess.
_LIMITS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"> {_N} maximum",  # Anthropic
        rf"{_N} maximum context length",  # Mistral
        rf"maximum (?:context|prompt|model|input) length (?:is|of|:)? ?(?:only )?{_N}",  # OpenAI, vLLM, DeepSeek, xAI
        rf"maximum context length:? {_N}",  # Fireworks
        rf"(?:maximum|configured|the) limit (?:of|is) {_N}",  # OpenAI, Copilot
        rf"limit(?: is| of|:) ?{_N}",  # Cerebras, Moonshot
        rf"context (?:length|window|size|limit)[^.;\d]*(?<!by ){_N}",  # SGLang, llama.cpp, LM Studio
        rf"tokens allowed:? {_N}",  # Gemini
        rf"(?:must be <=|cannot exceed|less than) {_N}",  # TGI, Cohere
        rf"maximum model length of {_N}",
    )
)
# Where it names what was asked for; all groups of a pattern together.
_USED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"too large: {_N}.* request has {_N} input tokens",  # vLLM: the answer, and the prompt
        rf"given: {_N} `inputs` tokens and {_N} `max_new_tokens`",  # TGI
        rf"passed {_N} input tokens and requested {_N} output tokens",  # vLLM
        rf"resulted in {_N} tokens",  # OpenAI
        rf"requested:? (?:a total of )?{_N}",  # OpenAI, OpenRouter, SGLang, Moonshot
        rf"(?:has|contains) {_N} (?:input )?tokens",  # vLLM, xAI, Mistral
        rf"(?:prompt|input|request) \((?:length )?{_N}(?: tokens)?\)",  # vLLM, llama.cpp
        rf"token count {_N}",  # Gemini
        rf"prompt is too long: {_N}",  # Fireworks, Anthropic
        rf"context window: {_N} tokens",
        rf"keep the first {_N} tokens",  # LM Studio
        rf"received {_N}",  # Cohere
    )
)


def is_overflow(error: ProviderError, status: int) -> bool:
    if _CODES & set(error.words):
        return True
    message = error.message.lower()
    return status in _OVERFLOW_STATUSES and any(mark in message for mark in _MARKS)


def prompt_too_long(error: ProviderError, message: str) -> str:
    """For a Messages client; the numbers only where they are what they say."""
    if message.startswith(_OUTPUT_TOO_LARGE):
        return message
    if not message.startswith(_PREFIX):
        used, limit = _counted(error) or (_used(message), _limit(message))
        message = (
            f"{_PREFIX}: {used} tokens > {limit} maximum ({message})" if used > limit > 0 else f"{_PREFIX}: {message}"
        )
    return rejected(message, "prompt_too_long")


def _counted(error: ProviderError) -> tuple[int, int] | None:
    """llama.cpp says it in members."""
    used, limit = error.members.get("n_prompt_tokens"), error.members.get("n_ctx")
    return (used, limit) if type(used) is int and type(limit) is int else None


def _used(message: str) -> int:
    for pattern in _USED:
        if match := pattern.search(message):
            return sum(map(_int, match.groups()))
    return 0


def _limit(message: str) -> int:
    for pattern in _LIMITS:
        if match := pattern.search(message):
            return _int(match.group(1))
    return 0


def _int(digits: str) -> int:
    plain = re.sub(r"[,_]", "", digits)
    return int(plain) if len(plain) < 12 else 0


# OpenRouter answers 404 where no provider reads images, llama.cpp 500 for a model without a projector.
_BLOCK_STATUSES = frozenset((400, 404, 415, 422, 500, 501, 502))
# DeepSeek's parser, vLLM, llama.cpp and Ollama, OpenRouter, Groq and others.
_IMAGE = re.compile(
    r"unknown variant `?'?image_url|at most 0 image|not a multimodal model|missing data required for image input"
    r"|(?:not|n't|found that) support(?:ed)?\b[^.;]{0,40}\b(?:image|vision)"
    r"|\b(?:image|vision)[^.;]{0,60}\b(?:not supported|unsupported)|\bunsupported[^.;]{0,20}\bimage",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(
    r"unknown variant `?'?file\b|\bfile (?:input|content)s? [^.;]{0,20}\b(?:not supported|unsupported)"
    r"|(?:not|n't|found that) support(?:ed)?\b[^.;]{0,40}\b(?:pdf|document|file input)"
    r"|\b(?:pdf|document)s?\b[^.;]{0,60}\b(?:not supported|unsupported)|\bunsupported[^.;]{0,20}\b(?:pdf|document)",
    re.IGNORECASE,
)


def refused_block(message: str, status: int) -> Capability | None:
    """The kind of block that the message refuses, if it does."""
    if status not in _BLOCK_STATUSES:
        return None
    if _IMAGE.search(message):
        return "image_block"
    return "document_block" if _DOCUMENT.search(message) else None
