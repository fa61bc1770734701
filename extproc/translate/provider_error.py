"""What a provider's error body says, in any vendor's form, without keys and addresses (docs/mapping.md 5.1)."""

import re
from typing import Any

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
    if isinstance(body, list) and body:
        body = body[0]
    return _of_object(body) if isinstance(body, dict) else ProviderError()


def _of_object(body: Json) -> ProviderError:
    error = body.get("error")
    if isinstance(error, dict):
        return _of_error(error)
    if isinstance(error, str) and error:
        return ProviderError(message=error, code=_word(body.get("code")), type=_word(body.get("type")))
    if isinstance(body.get("message"), str | dict | list):
        return _of_error(body)
    return _of_detail(body.get("detail"))


def _of_error(error: Json) -> ProviderError:
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
# Of hosts of any kind what can be told from other words: a port behind it, or a version in its path.
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
