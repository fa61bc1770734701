"""What a body asks of a model, as rules see it. A dialect is one entry of READINGS.

Rules decide by this, so whatever a lax provider might take for a tool or an image is taken for one here, and what has
not the type it should have is left out: a rule that reads it fails.
"""

import re
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


READINGS: dict[str, Reading] = {
    "messages": Reading("messages", ("max_tokens",), {"mcp_servers": "mcp_toolset"}),
    "chat": Reading("messages", ("max_completion_tokens", "max_tokens"), {"web_search_options": "web_search"}),
}

# Each of them may hold parts of a message within a part: results of tools, documents made of parts.
_NESTED = ("content", "source", "output")
_IMAGE = ("image", "input_image")
# `web_search_20250305`, `web_search_preview_2025_03_11`
_VERSION = re.compile(r"_(\d{8}|\d{4}_\d{2}_\d{2})$")


def read(dialect: str, body: Json) -> Json:
    """stream, max_tokens, tools, has_images, messages; without those that cannot be told."""
    reading = READINGS[dialect]
    found = {
        "stream": _stream(body),
        "max_tokens": _limit(body, reading),
        "tools": _tools(body, reading),
        "has_images": _has_image(body.get(reading.turns)),
        "messages": _count(body.get(reading.turns)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _stream(body: Json) -> bool | None:
    stream = body.get("stream")
    return bool(stream) if stream is None or isinstance(stream, bool) else None


def _limit(body: Json, reading: Reading) -> int | None:
    limits = [limit for name in reading.limits if (limit := body.get(name)) is not None]
    # CEL's integers have 64 bits; booleans are integers to Python.
    good = all(type(limit) is int and abs(limit) < 2**63 for limit in limits)
    return max(limits) if limits and good else None


def _count(turns: object) -> int | None:
    """The Responses dialect takes a string for one turn."""
    return len(turns) if isinstance(turns, list) else 1 if isinstance(turns, str) else None


def _tools(body: Json, reading: Reading) -> list[str] | None:
    """None: something among them cannot be named."""
    names = {name: None for member, name in reading.implied.items() if body.get(member) not in (None, [])}
    for member in ("tools", "functions"):  # `functions`: https://platform.openai.com/docs/api-reference/chat
        tools = body.get(member)
        if tools is None:
            continue
        if not isinstance(tools, list):
            return None
        for tool in tools:
            found = list(_names(tool))
            if not found:
                return None
            names |= dict.fromkeys(found)
    return list(names)


def _names(tool: object) -> Iterator[str]:
    """All that a provider might know it by: its name, in the form of any dialect, and what kind it is when the
    provider runs it or has its own form for it."""
    if not isinstance(tool, dict):
        return
    kind = tool.get("type")
    for holder in (tool, tool.get("function"), tool.get("custom")):
        if isinstance(holder, dict) and isinstance(name := holder.get("name"), str):
            yield name
    if isinstance(kind, str) and kind not in {"function", "custom"}:
        yield _VERSION.sub("", kind)


def _has_image(part: object) -> bool:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            kind = part.get("type")
            # vLLM goes by the member where there is no type.
            named = [name for name in (kind, *part) if isinstance(name, str)]
            if any(name.startswith(_IMAGE) for name in named):
                return True
            waiting += [part[name] for name in _NESTED if name in part]
    return False
