"""Which tool the model shall take (mapping 4.4)."""

from typing import Any

from extproc.translate import want
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.chat_on_messages.tools import Declared
from extproc.translate.pair import Json
from extproc.translate.want import refused, unsupported

_WORDS = {"auto": "auto", "required": "any", "none": "none"}
_MODES = ("auto", "required")


def apply(draft: Draft, declared: Declared) -> bool:
    """Writes tool_choice; returns whether a tool is forced."""
    choice = _choice(draft, declared)
    if "tools" not in draft.upstream:
        _check_lost(choice, declared)
        return False
    if declared.rebuilt:
        choice = {"type": "none"}
    elif _one_at_a_time(draft):
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None:
        draft.upstream["tool_choice"] = choice
    return choice is not None and choice["type"] in ("any", "tool")


def _one_at_a_time(draft: Draft) -> bool:
    """Parallel calls were unknown when there were only functions."""
    parallel = draft.body.get("parallel_tool_calls")
    return (parallel is not None and not want.flag(draft.body, "parallel_tool_calls", "")) or bool(
        draft.body.get("functions")
    )


def _choice(draft: Draft, declared: Declared) -> Json | None:
    name = "tool_choice" if draft.body.get("tool_choice") is not None else "function_call"
    found = draft.body.get(name)
    if found is None:
        return None
    if isinstance(found, str):
        return {"type": _WORDS[want.one_of(found, tuple(_WORDS), name)]}
    choice = want.mapping(draft.body, name, "")
    kind = want.optional_text(choice, "type", name)
    if kind is None:
        return _forced(choice, name, declared)
    if want.one_of(kind, ("function", "custom", "allowed_tools"), f"{name}.type") == "allowed_tools":
        return _allowed(draft, want.mapping(choice, kind, name), f"{name}.{kind}", declared)
    return _forced(want.mapping(choice, kind, name), f"{name}.{kind}", declared)


def _forced(holder: Json, path: str, declared: Declared) -> Json | None:
    name = want.text(holder, "name", path)
    if name in declared.names:
        return {"type": "tool", "name": declared.names[name]}
    if declared.names:
        raise refused(f"{path}.name", f"Tool '{name[:128]}' not found in provided tools")
    return {"type": "tool", "name": name}


def _allowed(draft: Draft, allowed: Json, path: str, declared: Declared) -> Json:
    """Only the tools named are told of."""
    mode = want.one_of(want.text(allowed, "mode", path), _MODES, f"{path}.mode")
    listed = want.sequence(allowed, "tools", path)
    kept = {_allowed_name(item, f"{path}.tools.{n}", declared) for n, item in enumerate(listed)}
    tools = [tool for tool in draft.upstream.get("tools", []) if tool["name"] in kept]
    if draft.upstream.get("tools"):
        if not tools:
            raise refused(f"{path}.tools", "at least one tool is required")
        draft.upstream["tools"] = tools
    return {"type": _WORDS[mode]}


def _allowed_name(item: Any, path: str, declared: Declared) -> str:
    tool = want.item(item, path)
    kind = want.text(tool, "type", path)
    holder = tool[kind] if isinstance(tool.get(kind), dict) else tool
    name = want.text(holder, "name", path)
    if name not in declared.names:
        raise refused(f"{path}.name", f"Tool '{name[:128]}' not found in provided tools")
    return declared.names[name]


def _check_lost(choice: Json | None, declared: Declared) -> None:
    """A choice that leaves only tools which cannot run here would be a lie if it were dropped."""
    if declared.lost and choice is not None and choice["type"] in ("any", "tool"):
        raise unsupported("tool_choice", "none of the tools can run with this model")
