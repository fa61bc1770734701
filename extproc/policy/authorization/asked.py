"""What a body asks of a model, as rules see it: read by the members that a dialect's row names (wire/dialects.py).

Rules decide by this, so whatever a lax provider might take for a tool or an image is taken for one here, and what has
not the type it should have is left out: a rule that reads it fails.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from extproc.wire import Dialect, dialects
from extproc.wire.dialects import DialectRow

Json = dict[str, Any]

_ANSWERS = ("n", "best_of")
"""Members that say how many answers are written."""
# Members that bring a tool of the provider's along -> its name. In any dialect: lenient servers take them in each.
IMPLIED: Mapping[str, str] = {
    "mcp_servers": "mcp_toolset",
    "web_search_options": "web_search",
    "web_search": "web_search",
    "search_parameters": "web_search",  # xAI
    "search_options": "web_search",  # Qwen
    "enable_search": "web_search",
    "plugins": "plugins",  # OpenRouter
    "data_sources": "data_sources",  # Azure
}
MAX_TOOLS = 10_000
# Each of them may hold parts of a message within a part: results of tools, documents made of parts.
_NESTED = ("content", "source", "output")
_PROMPTS = ("system", "instructions")
_IMAGE = ("image", "input_image", "video", "input_video")
# A file, in the forms of Chat Completions, Responses and Gemini.
_FILE = frozenset({"file", "input_file", "inline_data", "inlinedata", "file_data", "filedata", "media"})
_PLAIN = frozenset({"role", "content", "type", "text", "cache_control", "id", "name", "tool_use_id", "is_error"})
_PLAIN_TYPES = (None, "text", "message", "tool_result", "input_text", "output_text")
_KIND = frozenset({"media_type", "mediatype", "mime_type", "mimetype"})
_DATA = re.compile(r"data:([^;,]*)", re.IGNORECASE)
_SHOWN = ("image/", "video/")
# `web_search_20250305`, `web_search_preview_2025_03_11`
_VERSION = re.compile(r"_(\d{8}|\d{4}_\d{2}_\d{2})$")


def read(dialect: Dialect, body: Json) -> Json:
    """stream, max_tokens, tools, has_images, messages; without those that cannot be told."""
    row = dialects.row(dialect)
    turns = _all(body, row.turns)
    limit = _limit(_all(body, *row.limits), _all(body, *_ANSWERS))
    found: Json = {"stream": _stream(_all(body, "stream")), "max_tokens": limit}
    if not (_is_elsewhere(_all(body, *row.elsewhere)) or (row.item_references and _refers(turns))):
        images = _has_image([*turns, *_all(body, *_PROMPTS)])
        found |= {"tools": _tools(body, row), "has_images": images, "messages": _count(turns)}
    return {name: value for name, value in found.items() if value is not None}


def _all(holder: Json, *names: str) -> list[Any]:
    """Values of these members that are not null. Servers written in Go take `Tools` for `tools`:
    https://pkg.go.dev/encoding/json#Unmarshal"""
    return [value for name, value in holder.items() if value is not None and name.casefold() in names]


def _stream(said: list[Any]) -> bool | None:
    good = len(said) < 2 and all(isinstance(stream, bool) for stream in said)
    return any(said) if good else None


def _limit(limits: list[Any], answers: list[Any]) -> int | None:
    """The limit of tokens for all answers together."""
    # Booleans are integers to Python.
    if not limits or not all(type(number) is int for number in (*limits, *answers)):
        return None
    limit = max(limits) * max(1, *answers, 1)
    return limit if abs(limit) < 2**63 else None  # CEL's integers


def _is_elsewhere(named: list[Any]) -> bool:
    """A new thread of Anthropic's holds nothing yet."""
    return any(value != {"type": "create"} for value in named)


def _count(turns: list[Any]) -> int | None:
    """The Responses dialect takes a string for one turn."""
    if len(turns) != 1 or not isinstance(turns[0], list | str):
        return None
    return len(turns[0]) if isinstance(turns[0], list) else 1


def _tools(body: Json, row: DialectRow) -> list[str] | None:
    """None: something among them cannot be named, or there are more than anybody has."""
    names = [*_implied(body)]
    # `functions`: https://platform.openai.com/docs/api-reference/chat/create
    waiting = deque([*_all(body, "tools", "functions"), *_added(_all(body, row.turns))])
    while waiting:
        tools = waiting.popleft()
        if not isinstance(tools, list) or len(names) + len(tools) > MAX_TOOLS:
            return None
        for tool in tools:
            found = list(_names(tool)) if isinstance(tool, dict) else []
            if not found:
                return None
            names += found
            waiting += _all(tool, "tools")  # a namespace's
    return list(dict.fromkeys(names)) if len(names) <= MAX_TOOLS else None


def _implied(body: Json) -> Iterator[str]:
    for member, held in body.items():
        if (name := IMPLIED.get(member.casefold())) and held not in (None, [], False):
            yield name
    for listed in _all(body, "plugins"):
        yield from (f"{one['id']}" for one in _objects(listed) if "id" in one)
        if any(str(one.get("id", "")).startswith("web") for one in _objects(listed)):
            yield "web_search"
    for container in _all(body, "container"):
        for skills in _all(container, "skills") if isinstance(container, dict) else ():
            yield "skills"
            yield from (f"{one['skill_id']}" for one in _objects(skills) if "skill_id" in one)


def _objects(listed: Any) -> list[Json]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _added(turns: list[Any]) -> Iterator[Any]:
    """Tools that come in the midst of a conversation."""
    for turn in (turn for held in turns if isinstance(held, list) for turn in held if isinstance(turn, dict)):
        if "additional_tools" in _all(turn, "type"):
            yield from _all(turn, "tools")


def _refers(turns: list[Any]) -> bool:
    """Whether one of the items only names what the provider has kept; the type of such may be left out."""
    items = [item for held in turns if isinstance(held, list) for item in held if isinstance(item, dict)]
    return any("item_reference" in _all(item, "type") or not _all(item, "type", "role") for item in items)


def _names(tool: Json) -> Iterator[str]:
    """All that a provider might know it by: its name, in the form of any dialect, and what kind it is when the
    provider runs it or has its own form for it."""
    for holder in (tool, *_all(tool, "function", "custom")):
        if isinstance(holder, dict):
            yield from (name for name in _all(holder, "name") if isinstance(name, str))
    for kind in _all(tool, "type"):
        if isinstance(kind, str) and kind not in {"function", "custom"}:
            yield _VERSION.sub("", kind)


def _has_image(turns: list[Any]) -> bool:
    waiting = [*turns]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if not _is_plain(part) and _shows_image(part):
                return True
            waiting += _all(part, *_NESTED)
    return False


def _is_plain(part: Json) -> bool:
    """Most parts are: a turn, a text, a call or its result."""
    return part.keys() <= _PLAIN and part.get("type") in _PLAIN_TYPES


def _shows_image(part: Json) -> bool:
    # vLLM goes by the member where there is no type.
    names = [name.casefold() for name in (*part, *_all(part, "type")) if isinstance(name, str)]
    if any(name.startswith(_IMAGE) for name in names):
        return True
    kinds = list(_media_kinds(part))
    if _FILE.isdisjoint(names):
        return any(kind.startswith(_SHOWN) for kind in kinds)
    # A file is taken for an image unless it says what else it is.
    return not kinds or any(kind.startswith(_SHOWN) for kind in kinds)


def _media_kinds(part: Json) -> Iterator[str]:
    """Media types that a part, or an object right within it, is said to have."""
    for holder in (part, *(value for value in part.values() if isinstance(value, dict))):
        for name, value in holder.items():
            if not isinstance(value, str) or name.casefold() in ("text", "content"):
                continue
            if name.casefold() in _KIND:
                yield value.strip().casefold()
            elif found := _DATA.match(value):
                yield found[1].strip().casefold()
