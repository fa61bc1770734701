"""Which tool the model shall take (mapping 4.4)."""

from typing import Protocol

from extproc.translate import want
from extproc.translate.asked_choice import CALL_ONE, CALL_THIS
from extproc.translate.on_messages import system
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.toolbox import Declared
from extproc.translate.pair import Json
from extproc.translate.want import refused, unsupported

_WORDS = {"auto": "auto", "required": "any", "none": "none"}
_MODES = ("auto", "required")


class Form(Protocol):
    """How a dialect writes a choice that is an object."""

    kinds: tuple[str, ...]
    """Types that name one tool."""

    def holder(self, choice: Json, kind: str, path: str) -> tuple[Json, str]:
        """The object with the members of a choice of that type, and its path."""
        ...

    def name(self, tool: Json, path: str) -> tuple[str, str]:
        """The client's name of the tool meant, and the path of it. No name: the tool cannot run here."""
        ...


def apply(draft: Draft, declared: Declared, form: Form, member: str = "tool_choice", *, single: bool = False) -> bool:
    """Writes tool_choice; returns whether a tool is forced. `single`: parallel calls are unknown to the client."""
    choice = _choice(draft, declared, form, member)
    if "tools" not in draft.upstream:
        _check_lost(choice, declared)
        return False
    if declared.rebuilt:
        choice = {"type": "none"}
    elif single or _one_at_a_time(draft):
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None and not draft.profile.forced_tool_choice:
        choice = _asked_for(draft, choice)
    if choice is not None:
        draft.upstream["tool_choice"] = choice
    return choice is not None and choice["type"] in ("any", "tool")


def _asked_for(draft: Draft, choice: Json) -> Json:
    """The model cannot be made to call a tool, so it is asked to."""
    if choice["type"] not in ("any", "tool"):
        return choice
    draft.warnings.add("emulated", "tool_choice", "this model cannot be made to call a tool")
    system.say(draft, CALL_ONE if choice["type"] == "any" else CALL_THIS.format(choice["name"]))
    return {name: value for name, value in choice.items() if name != "name"} | {"type": "auto"}


def _one_at_a_time(draft: Draft) -> bool:
    parallel = draft.body.get("parallel_tool_calls")
    return parallel is not None and not want.flag(draft.body, "parallel_tool_calls", "")


def _choice(draft: Draft, declared: Declared, form: Form, member: str) -> Json | None:
    found = draft.body.get(member)
    if found is None:
        return None
    if isinstance(found, str):
        return {"type": _WORDS[want.one_of(found, tuple(_WORDS), member)]}
    choice = want.mapping(draft.body, member, "")
    kind = want.optional_text(choice, "type", member)
    if kind is None:
        return _forced(want.text(choice, "name", member), f"{member}.name", declared)
    want.one_of(kind, (*form.kinds, "allowed_tools"), f"{member}.type")
    holder, path = form.holder(choice, kind, member)
    if kind == "allowed_tools":
        return _allowed(draft, holder, path, declared, form)
    return _forced(*form.name(choice, member), declared)


def _forced(name: str, path: str, declared: Declared) -> Json:
    if not name:
        raise unsupported(path, "this tool cannot run with this model")
    if name in declared.names:
        return {"type": "tool", "name": declared.names[name]}
    if declared.names:
        raise refused(path, f"Tool '{name[:128]}' not found in provided tools")
    return {"type": "tool", "name": name}


def _allowed(draft: Draft, allowed: Json, path: str, declared: Declared, form: Form) -> Json:
    """Only the tools named are told of."""
    mode = want.one_of(want.text(allowed, "mode", path), _MODES, f"{path}.mode")
    kept = set()
    for n, item in enumerate(want.sequence(allowed, "tools", path)):
        name, where = form.name(want.item(item, f"{path}.tools.{n}"), f"{path}.tools.{n}")
        if name and name not in declared.names:
            raise refused(where, f"Tool '{name[:128]}' not found in provided tools")
        if name:
            kept.add(declared.names[name])
    tools = [tool for tool in draft.upstream.get("tools", []) if tool.get("name") in kept]
    if draft.upstream.get("tools"):
        if not tools:
            raise refused(f"{path}.tools", "at least one tool is required")
        draft.upstream["tools"] = tools
        # A choice is by name, and toolsets of servers have none; Anthropic refuses a server without its toolset.
        draft.upstream.pop("mcp_servers", None)
    return {"type": _WORDS[mode]}


def _check_lost(choice: Json | None, declared: Declared) -> None:
    """A choice that leaves only tools which cannot run here would be a lie if it were dropped."""
    if declared.lost and choice is not None and choice["type"] in ("any", "tool"):
        raise unsupported("tool_choice", "none of the tools can run with this model")
