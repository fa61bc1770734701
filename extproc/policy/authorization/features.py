"""The features that a body asks of a model, as rules see them. They are read by the members that a dialect's row names
(wire/dialects.py).

Rules decide by this, so whatever a lax provider might take for a tool is one here, and what has not the type it should
have is left out: a rule that reads it fails.
"""

import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from extproc.policy.authorization.media import Media
from extproc.wire import Dialect, dialects
from extproc.wire.lenient import Members, values_of
from extproc.wire.media_tokens import BYTES_PER_TOKEN

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
_PROMPTS = ("system", "instructions")
# Members that ask for reasoning: of OpenAI, Ollama, Qwen, vLLM; within objects: of Anthropic, OpenAI and OpenRouter,
# of the templates of vLLM and SGLang.
_SWITCHES = ("reasoning_effort", "think", "enable_thinking", "thinking_budget", "thinking_token_budget")
_SWITCHES_WITHIN = {
    "thinking": ("type",),
    "output_config": ("effort",),
    "reasoning": ("effort", "enabled", "max_tokens"),
    "chat_template_kwargs": ("enable_thinking", "thinking"),
}
_SWITCH_NAMES = frozenset((*_SWITCHES, *_SWITCHES_WITHIN))
_USUAL_TURN = {"role", "content"}
_OFF = frozenset({"none", "minimal", "disabled", "between_tools"})
# `web_search_20250305`, `web_search_preview_2025_03_11`
_VERSION = re.compile(r"_(\d{8}|\d{4}_\d{2}_\d{2})$")


def read_features(dialect: Dialect, body: Json, size: int) -> Json:
    """Values of the variables `llm.NAME` of `Part.LLM` but its size, without those that are not known.

    `size`: bytes of the body as it came."""
    row, members = dialects.row(dialect), Members(body)
    turns = members.get(row.turns)
    thinking = _thinking(members, turns)
    found: Json = {
        "stream": _stream(members.get("stream")),
        "max_tokens": _limit(members.get(*row.limits), members.get(*_ANSWERS)),
        # What the provider has kept may ask for it, too.
        "thinking": thinking or None,
    }
    if not (_is_elsewhere(members.get(*row.elsewhere)) or (row.item_references and _refers(turns))):
        media = Media([*turns, *members.get(*_PROMPTS)])
        found |= {
            "tools": _tools(members, turns),
            "has_images": media.has_images,
            "has_pdf": media.has_pdf,
            "messages": _count(turns),
            "thinking": thinking,
            "estimated_tokens": math.ceil(max(0, size - media.size) / BYTES_PER_TOKEN) + media.tokens,
        }
    return {name: value for name, value in found.items() if value is not None}


def _stream(values: list[Any]) -> bool | None:
    is_known = len(values) < 2 and all(isinstance(value, bool) for value in values)
    return any(values) if is_known else None


def _limit(limits: list[Any], answers: list[Any]) -> int | None:
    """The limit of tokens for all answers together."""
    # Booleans are integers to Python.
    if not limits or not all(type(number) is int for number in (*limits, *answers)):
        return None
    # `n` and `best_of` multiply what an answer may cost:
    # https://platform.openai.com/docs/api-reference/completions/create.
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


def _thinking(members: Members, turns: list[Any]) -> bool | None:
    """Whether the body asks for reasoning; None: not known."""
    modes: list[Any] = []
    wanted: list[Any] = []
    if members.has(_SWITCH_NAMES):
        modes = _within(members, "thinking")
        wanted = [*modes, *members.get(*_SWITCHES)]
        wanted += _within(members, "reasoning") + _within(members, "chat_template_kwargs")
    if not any(_is_on(mode) is False for mode in modes):  # then Claude does not think, whatever its effort
        wanted += [*_within(members, "output_config"), *_later_efforts(turns)]
    found = [_is_on(value) for value in wanted]
    return True if any(found) else None if None in found else False


def _within(members: Members, name: str) -> list[Any]:
    found: list[Any] = []
    for holder in members.get(name):
        found += values_of(holder, *_SWITCHES_WITHIN[name]) if isinstance(holder, dict) else [holder]
    return found


def _later_efforts(turns: list[Any]) -> Iterator[Any]:
    """A message or an item may change the effort."""
    for turn in _items(turns):
        if turn.keys() == _USUAL_TURN:
            continue
        for holder in values_of(turn, "output_config", "reasoning"):
            yield from values_of(holder, "effort") if isinstance(holder, dict) else ()


def _is_on(switch: Any) -> bool | None:
    match switch:
        case bool():
            return switch
        case int():
            return switch > 0
        case str():
            return switch.casefold() not in _OFF
        case _:
            return None


def _tools(members: Members, turns: list[Any]) -> list[str] | None:
    """None: something among them cannot be named, or there are more than anybody has."""
    names = [*_implied(members)]
    # `functions`: https://platform.openai.com/docs/api-reference/chat/create
    waiting = deque([*members.get("tools", "functions"), *_added(turns)])
    while waiting:
        tools = waiting.popleft()
        if not isinstance(tools, list) or len(names) + len(tools) > MAX_TOOLS:
            return None
        for tool in tools:
            found = list(_names(tool)) if isinstance(tool, dict) else []
            if not found:
                return None
            names += found
            waiting += values_of(tool, "tools")  # a namespace's
    return list(dict.fromkeys(names)) if len(names) <= MAX_TOOLS else None


def _implied(members: Members) -> Iterator[str]:
    for member, name in IMPLIED.items():
        yield from (name for held in members.get(member) if held not in ([], False))
    for listed in members.get("plugins"):
        yield from (f"{one['id']}" for one in _objects(listed) if "id" in one)
        if any(str(one.get("id", "")).startswith("web") for one in _objects(listed)):
            yield "web_search"
    for container in members.get("container"):
        for skills in values_of(container, "skills") if isinstance(container, dict) else ():
            yield "skills"
            yield from (f"{one['skill_id']}" for one in _objects(skills) if "skill_id" in one)


def _objects(listed: Any) -> list[Json]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _added(turns: list[Any]) -> Iterator[Any]:
    """Tools that come in the midst of a conversation."""
    for turn in _items(turns):
        if "additional_tools" in values_of(turn, "type"):
            yield from values_of(turn, "tools")


def _refers(turns: list[Any]) -> bool:
    """Whether one of the items only names what the provider has kept; the type of such may be left out."""
    return any(
        "item_reference" in values_of(item, "type") or not values_of(item, "type", "role") for item in _items(turns)
    )


def _items(turns: list[Any]) -> Iterator[Json]:
    return (item for held in turns if isinstance(held, list) for item in held if isinstance(item, dict))


def _names(tool: Json) -> Iterator[str]:
    """All that a provider might know it by: its name, in the form of any dialect, and what kind it is when the
    provider runs it or has its own form for it."""
    for holder in (tool, *values_of(tool, "function", "custom")):
        if isinstance(holder, dict):
            yield from (name for name in values_of(holder, "name") if isinstance(name, str))
    for kind in values_of(tool, "type"):
        if isinstance(kind, str) and kind not in {"function", "custom"}:
            yield _VERSION.sub("", kind)
