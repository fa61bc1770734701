"""Which tool the model shall take."""

from typing import Any

import msgspec

from extproc.translate import want
from extproc.translate.asked_choice import CALL_ONE, CALL_THIS
from extproc.translate.for_messages import web_search
from extproc.translate.for_messages.draft import Draft
from extproc.translate.for_messages.tools import Tools
from extproc.translate.want import Json, Refused, refused, unsupported

_KINDS = ("auto", "any", "tool", "none")
_KNOWN = frozenset(("type", "name", "disable_parallel_tool_use"))


def apply(draft: Draft, tools: Tools, *, has_calls: bool) -> bool:
    """Writes tools and tool_choice; returns whether any function is declared."""
    choice = want.optional_mapping(draft.body, "tool_choice", "")
    kind = None
    if draft.body.get("tool_choice") is not None:
        kind = want.one_of(want.text(choice, "type", "tool_choice"), _KINDS, "tool_choice.type")
        draft.warnings.unknown(choice, _KNOWN, "tool_choice")
        _check_runs(draft, choice, kind, tools)
    if not tools.functions:
        draft.searches_only = bool(tools.searches) and tools.dropped == tools.searches
        return False
    draft.upstream["tools"] = tools.functions
    if kind is None:
        return True
    if draft.profile.tool_choice:
        draft.upstream["tool_choice"] = _choice(draft, choice, kind, tools)
        _parallel(draft, choice)
        return True
    return _without_choice(draft, choice, kind, has_calls=has_calls)


def _check_runs(draft: Draft, choice: Json, kind: str, tools: Tools) -> None:
    """A choice that leaves only tools which cannot run here would be a lie if it were dropped."""
    if kind == "any" and tools.dropped and not tools.functions:
        names = ", ".join(sorted(tools.dropped))
        problem = unsupported("tool_choice", f"none of the tools can run with this model: {names}")
        raise _out_of_reach(draft, problem) if tools.dropped == tools.searches else problem
    if kind != "tool":
        return
    name = want.text(choice, "name", "tool_choice")
    if name in tools.dropped:
        problem = unsupported("tool_choice.name", f"server tool '{name}' cannot run with this model")
        raise _out_of_reach(draft, problem) if name in tools.searches else problem
    if (draft.body.get("tools") or tools.functions) and name not in tools.by_client_name and name not in tools.hosted:
        raise refused("tool_choice.name", f"Tool '{name}' not found in provided tools")


def _out_of_reach(draft: Draft, problem: Refused) -> Refused:
    """Claude Code's WebSearch asks for nothing but a search, and hands the answer on to its model."""
    if draft.profile.strictness == "strict" or not web_search.is_only_a_search(draft.body):
        return problem
    return Refused(msgspec.structs.replace(problem.rejection, answer=web_search.NOT_AVAILABLE))


def _choice(draft: Draft, choice: Json, kind: str, tools: Tools) -> Any:
    if kind in ("any", "tool") and not draft.profile.forced_tool_choice:
        draft.warnings.add("emulated", "tool_choice", "this model cannot be made to call a tool")
        draft.tool_notes.append(CALL_ONE if kind == "any" else CALL_THIS.format(choice["name"]))
        return "auto"
    if kind == "any":
        return draft.profile.tool_choice_any
    if kind == "tool":
        name = choice["name"]
        return tools.hosted[name].choice if name in tools.hosted else draft.choice(tools.by_client_name[name])
    return kind


def _parallel(draft: Draft, choice: Json) -> None:
    if not want.flag(choice, "disable_parallel_tool_use", "tool_choice"):
        return
    if draft.profile.parallel_tool_calls:
        draft.upstream["parallel_tool_calls"] = False
    else:
        draft.warnings.add("dropped", "tool_choice.disable_parallel_tool_use")


def _without_choice(draft: Draft, choice: Json, kind: str, *, has_calls: bool) -> bool:
    """For servers that know no tool_choice."""
    if kind == "none" and not has_calls:
        del draft.upstream["tools"]
        return False
    parallel = want.flag(choice, "disable_parallel_tool_use", "tool_choice")
    if kind != "auto" or parallel:
        draft.warnings.add("dropped", "tool_choice")
    return True
