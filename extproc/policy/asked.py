"""What a body asks of a model, as rules see it. A dialect is one entry of READINGS.

Rules decide by this, so whatever a lax provider might take for a tool or an image is taken for one here, and what has
not the type it should have is left out: a rule that reads it fails.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]


class Reading(NamedTuple):
    turns: str
    """The member with the conversation."""
    limits: tuple[str, ...]
    """Members that limit the answer; the highest counts."""
    implied: Mapping[str, str] = {}
    """Members that bring a tool of the provider's along -> its name."""
    elsewhere: tuple[str, ...] = ()
    """Members by which the provider adds what it has kept, and nobody here can see."""


READINGS: dict[str, Reading] = {
    "messages": Reading("messages", ("max_tokens",), {"mcp_servers": "mcp_toolset"}),
    "chat": Reading("messages", ("max_completion_tokens", "max_tokens"), {"web_search_options": "web_search"}),
    "responses": Reading("input", ("max_output_tokens",), elsewhere=("conversation", "previous_response_id", "prompt")),
}

MAX_TOOLS = 10_000
# Each of them may hold parts of a message within a part: results of tools, documents made of parts.
_NESTED = ("content", "source", "output")
_IMAGE = ("image", "input_image")
# `web_search_20250305`, `web_search_preview_2025_03_11`
_VERSION = re.compile(r"_(\d{8}|\d{4}_\d{2}_\d{2})$")


def read(dialect: str, body: Json) -> Json:
    """stream, max_tokens, tools, has_images, messages; without those that cannot be told."""
    reading = READINGS[dialect]
    turns = _all(body, reading.turns)
    found: Json = {"stream": _stream(_all(body, "stream")), "max_tokens": _limit(_all(body, *reading.limits))}
    if not (reading.elsewhere and (_all(body, *reading.elsewhere) or _refers(turns))):
        found |= {"tools": _tools(body, reading), "has_images": _has_image(turns), "messages": _count(turns)}
    return {name: value for name, value in found.items() if value is not None}


def _all(holder: Json, *names: str) -> list[Any]:
    """Values of these members that are not null. Servers written in Go take `Tools` for `tools`:
    https://pkg.go.dev/encoding/json#Unmarshal"""
    return [value for name, value in holder.items() if value is not None and name.casefold() in names]


def _stream(said: list[Any]) -> bool | None:
    good = len(said) < 2 and all(isinstance(stream, bool) for stream in said)
    return any(said) if good else None


def _limit(limits: list[Any]) -> int | None:
    # CEL's integers have 64 bits; booleans are integers to Python.
    good = all(type(limit) is int and abs(limit) < 2**63 for limit in limits)
    return max(limits) if limits and good else None


def _count(turns: list[Any]) -> int | None:
    """The Responses dialect takes a string for one turn."""
    if len(turns) != 1 or not isinstance(turns[0], list | str):
        return None
    return len(turns[0]) if isinstance(turns[0], list) else 1


def _tools(body: Json, reading: Reading) -> list[str] | None:
    """None: something among them cannot be named, or there are more than anybody has."""
    names = [name for member, name in reading.implied.items() for held in _all(body, member) if held != []]
    # `functions`: https://platform.openai.com/docs/api-reference/chat/create
    waiting = deque([*_all(body, "tools", "functions"), *_added(_all(body, reading.turns))])
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
    return list(dict.fromkeys(names))


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
            # vLLM goes by the member where there is no type.
            named = (name for name in (*part, *_all(part, "type")) if isinstance(name, str))
            if any(name.casefold().startswith(_IMAGE) for name in named):
                return True
            waiting += _all(part, *_NESTED)
    return False
