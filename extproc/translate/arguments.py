"""A tool call's arguments as the object that Messages clients need (mapping 2.5), and whether they were cut (2.3)."""

import re
from typing import Any, NamedTuple

import msgspec

from extproc.translate.json_prefix import MAX_DEPTH, RAW, JsonPrefix
from extproc.translate.pair import Json
from extproc.wire import untrusted

_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n?")
_NOT_JSON = object()


class ToolInput(NamedTuple):
    value: Json
    meant: bool = True
    """False: no JSON, so the text stands in a member of its own."""
    cut: bool = False
    """The model has not finished the call, so no client may run it."""


def tool_input(arguments: Any, at_limit: bool = False) -> ToolInput:
    """The arguments as an object. `at_limit`: the answer ended at its token limit, or without saying why."""
    if not isinstance(arguments, str):
        return ToolInput({}, cut=at_limit) if arguments is None else _object(arguments)
    text = arguments.strip()
    if text in {"", "null"}:
        return ToolInput({}, cut=at_limit and not text)
    inner = _unfenced(text)
    for candidate in (text, inner):
        value = _parsed(candidate)
        if value is not _NOT_JSON:
            return _object(value)
    return ToolInput({RAW: arguments}, meant=False, cut=at_limit or _is_prefix(inner or text))


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


def _object(value: Any) -> ToolInput:
    if isinstance(value, dict):
        return ToolInput(value)
    if not isinstance(value, str):
        return ToolInput({"value": value})
    inner = _parsed(value)
    if isinstance(inner, dict):
        return ToolInput(inner)
    return ToolInput({"value": value}, cut=inner is _NOT_JSON and value.startswith("{") and _is_prefix(value))


def _parsed(text: str) -> Any:
    if not text:
        return _NOT_JSON
    try:
        value = untrusted.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _NOT_JSON
    return _NOT_JSON if too_deep(value) else value


def _unfenced(text: str) -> str:
    """What stands in a fence of Markdown, which models cut short may not have closed."""
    opened = _FENCE.match(text)
    return text[opened.end() :].removesuffix("```").rstrip() if opened else ""


def _is_prefix(text: str) -> bool:
    """More text could make JSON of it. The bracket makes any value a member."""
    prefix = JsonPrefix()
    prefix.feed("[" + text)
    return not prefix.broken
