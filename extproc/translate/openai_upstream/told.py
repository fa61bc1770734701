"""What an error body says, in whichever of the vendors' shapes (mapping 5.1)."""

from typing import Any

import msgspec

from extproc.translate.pair import Json
from extproc.wire.lenient import Undecodable, loads


class Told(msgspec.Struct, frozen=True):
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


def told_by(body: Any) -> Told:
    """Nothing is told by HTML or other text: that is never forwarded."""
    if isinstance(body, bytes):
        try:
            body = loads(body)
        except Undecodable:
            return Told()
    if isinstance(body, list) and body:
        body = body[0]
    return _of_object(body) if isinstance(body, dict) else Told()


def _of_object(body: Json) -> Told:
    error = body.get("error")
    if isinstance(error, dict):
        return _of_error(error)
    if isinstance(error, str) and error:
        return Told(message=error, code=_word(body.get("code")), type=_word(body.get("type")))
    if isinstance(body.get("message"), str | dict | list):
        return _of_error(body)
    return _of_detail(body.get("detail"))


def _of_error(error: Json) -> Told:
    inner = error.get("innererror")
    return Told(
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
    found = told_by(message).message or _of_detail(message).message
    return found or msgspec.json.encode(message).decode()


def _raw(raw: Any) -> str:
    """OpenRouter wraps the provider's own error, often as JSON in a string."""
    if isinstance(raw, str):
        try:
            raw = loads(raw)
        except Undecodable:
            return "" if raw.lstrip().startswith("<") else raw
    return told_by(raw).message


def _of_detail(detail: Any) -> Told:
    if isinstance(detail, str):
        return Told(message=detail)
    if isinstance(detail, dict):
        return _of_object(detail)
    items = [item for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []
    return Told(message="; ".join(text for item in items if (text := _located(item))))


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
