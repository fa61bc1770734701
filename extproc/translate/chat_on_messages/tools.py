"""Functions and custom tools as Anthropic's tools (mapping 4.4)."""

from typing import NamedTuple

from extproc.translate import want
from extproc.translate.chat_on_messages import enforced, parameters
from extproc.translate.chat_on_messages.cache import mark
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.chat_on_messages.turns import Turn
from extproc.translate.pair import Json
from extproc.translate.want import refused

_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
_MARKS = ("cache_control", "prompt_cache_breakpoint")
_TOOL = frozenset(("type", "function", "custom", *_MARKS))
_FUNCTION = frozenset(("name", "description", "parameters", "strict"))
_CUSTOM = frozenset(("name", "description", "format"))


class Declared(NamedTuple):
    """What the upstream is told of tools."""

    names: dict[str, str]
    """The client's name -> the name upstream."""
    lost: bool
    """A tool cannot run here."""
    rebuilt: bool
    """The client declared none; they are known from its history."""


def declare(draft: Draft, turns: list[Turn]) -> Declared:
    names: dict[str, str] = {}
    server_side: list[Json] = draft.upstream.pop("tools", [])
    tools: list[Json] = []
    lost = False
    for n, item in enumerate(want.optional_sequence(draft.body, "tools", "")):
        path = f"tools.{n}"
        tool = _tool(draft, want.item(item, path), path, names)
        lost = lost or tool is None
        tools += [] if tool is None else [tool]
    for n, item in enumerate(want.optional_sequence(draft.body, "functions", "")):
        tools.append(_function(draft, want.item(item, f"functions.{n}"), f"functions.{n}", names))
    tools += server_side
    rebuilt = not tools and not lost and draft.profile.tools_for_history and _from_history(draft, turns, tools)
    if len({tool["name"] for tool in tools}) != len(tools):
        raise _not_unique()
    if tools:
        draft.upstream["tools"] = tools
    return Declared(names, lost, rebuilt)


def _tool(draft: Draft, tool: Json, path: str, names: dict[str, str]) -> Json | None:
    kind = want.text(tool, "type", path)
    if kind not in ("function", "custom"):
        draft.warnings.add("dropped", path, f"tool type '{kind[:64]}' cannot run here")
        return None
    draft.warnings.unknown(tool, _TOOL, path)
    build = _function if kind == "function" else _custom
    return mark(build(draft, want.mapping(tool, kind, path), f"{path}.{kind}", names), tool)


def _named(draft: Draft, holder: Json, path: str, names: dict[str, str]) -> Json:
    name = want.text(holder, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    if name in names:
        raise _not_unique()
    names[name] = draft.tool_name(name)
    tool: Json = {"name": names[name]}
    if description := want.optional_text(holder, "description", path):
        tool["description"] = description
    return tool


def _not_unique() -> Exception:
    return refused("tools", "Tool names must be unique.")


def _function(draft: Draft, function: Json, path: str, names: dict[str, str]) -> Json:
    draft.warnings.unknown(function, _FUNCTION, path)
    tool = _named(draft, function, path, names)
    where = f"{path}.parameters"
    schema, changed = parameters.rooted(want.optional_mapping(function, "parameters", path))
    if changed:
        draft.warnings.add("approx", where, "the schema must be an object without alternatives at its top")
    if want.flag(function, "strict", path):
        if draft.profile.strict_tools and enforced.can_be(schema, where):
            tool["strict"], schema = True, enforced.transformed(schema, where)
        else:
            draft.warnings.add("dropped", f"{path}.strict", "the schema cannot be enforced")
    tool["input_schema"] = schema
    return tool


def _custom(draft: Draft, custom: Json, path: str, names: dict[str, str]) -> Json:
    """Free text as the one member of an object."""
    draft.warnings.unknown(custom, _CUSTOM, path)
    tool = _named(draft, custom, path, names)
    draft.warnings.add("emulated", path.removesuffix(".custom"), "a custom tool takes JSON here")
    draft.custom.add(tool["name"])
    if grammar := _grammar(want.optional_mapping(custom, "format", path)):
        tool["description"] = f"{tool['description']}\n\n{grammar}" if "description" in tool else grammar
    tool["input_schema"] = _INPUT
    return tool


def _grammar(format: Json) -> str:
    if format.get("type") != "grammar":
        return ""
    grammar = format.get("grammar")
    members = grammar if isinstance(grammar, dict) else format
    syntax, definition = members.get("syntax"), members.get("definition")
    if not isinstance(definition, str):
        return ""
    return f"The input must follow this grammar{f' ({syntax})' if isinstance(syntax, str) else ''}:\n{definition}"


def _from_history(draft: Draft, turns: list[Turn], tools: list[Json]) -> bool:
    """Older models refuse calls of tools that nobody declared."""
    called = dict.fromkeys(b["name"] for turn in turns for b in turn.blocks if b["type"] == "tool_use")
    tools += [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in called]
    if called:
        draft.warnings.add("emulated", "tools", "the conversation holds calls of tools that are not declared")
    return bool(called)
