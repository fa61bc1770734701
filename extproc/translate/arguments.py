"""A tool call's arguments as the object that Messages clients need (mapping 2.5)."""

import re
from typing import Any

import msgspec

from extproc.translate.json_prefix import MAX_DEPTH, RAW, JsonPrefix
from extproc.translate.pair import Json
from extproc.wire import untrusted

_FENCE = re.compile(r"\s*```[a-zA-Z]*[ \t]*\n?(.*?)\n?\s*```\s*", re.DOTALL)
_NOT_JSON = object()


def tool_input(arguments: Any, cut: bool = False) -> tuple[Json, bool]:
    """The object, and whether it is what the model meant. `cut`: the answer ended at the token limit."""
    if not isinstance(arguments, str):
        return ({} if arguments is None else _object(arguments)), True
    text = arguments.strip()
    if text in {"", "null"}:
        return {}, True
    for candidate in (text, _unfenced(text), _repaired(text) if cut else ""):
        value = _parsed(candidate)
        if value is not _NOT_JSON:
            return _object(value), True
    return {RAW: arguments}, False


def compact(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def too_deep(value: Any) -> bool:
    """Nested further than an encoder would follow."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _object(value: Any) -> Json:
    if isinstance(value, str) and isinstance(inner := _parsed(value), dict):
        return inner
    return value if isinstance(value, dict) else {"value": value}


def _parsed(text: str) -> Any:
    if not text:
        return _NOT_JSON
    try:
        value = untrusted.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _NOT_JSON
    return _NOT_JSON if too_deep(value) else value


def _unfenced(text: str) -> str:
    match = _FENCE.fullmatch(text)
    return match.group(1) if match else ""


def _repaired(text: str) -> str:
    if not text.startswith("{"):
        return ""
    prefix = JsonPrefix()
    safe = prefix.feed(text)
    return "" if prefix.broken else safe + prefix.close()
