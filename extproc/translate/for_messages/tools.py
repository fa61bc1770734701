"""Tools in force, as functions."""

from typing import Any, NamedTuple

import msgspec

from extproc.translate import want
from extproc.translate.for_messages import canned, functions
from extproc.translate.for_messages.canned import Canned
from extproc.translate.for_messages.draft import Draft, Hosted
from extproc.translate.for_messages.toolsets import TOOLSETS
from extproc.translate.want import Json, refused

_COMMON = ("type", "name", "cache_control", "allowed_callers", "defer_loading", "input_examples", "strict")
_FIXED = frozenset((*_COMMON, "max_characters"))
_COMPUTER = frozenset((*_COMMON, "display_width_px", "display_height_px", "display_number", "enable_zoom"))
_TOOLSET = frozenset(("type", "cache_control", "configs"))
# Claude Code keeps a place for tools that may come later; a model that may call it would.
_PLACEHOLDER = "DeferredToolPlaceholder"
_REFERENCES = ("tool_reference", "mcp_tool_reference", "mcp_toolset_reference", "tool_definition")


class Tools(NamedTuple):
    """What the upstream is told, and what the client's own words for it mean."""

    functions: list[msgspec.Raw]
    by_client_name: dict[str, str]
    """The client's name -> the function's name."""
    dropped: set[str]
    """Names of tools that cannot run here."""
    hosted: dict[str, Hosted]
    """The client's name -> the tool that the upstream runs itself."""
    searches: set[str]
    """Those of the dropped that search the web."""


class _Tool:
    """A definition of the client's, and whether it is in force at the end of the conversation."""

    __slots__ = ("definition", "in_force", "name", "path")

    def __init__(self, found: Any, path: str) -> None:
        self.definition = want.item(found, path)
        self.path = path
        kind = self.definition.get("type")
        toolset = TOOLSETS.get(kind) if isinstance(kind, str) else None
        self.name = toolset[0] if toolset else self.definition.get("name")
        self.in_force = True


def declare(draft: Draft) -> Tools:
    """All tools in force; names are unique, also once shortened."""
    found = [_Tool(tool, f"tools.{n}") for n, tool in enumerate(want.optional_sequence(draft.body, "tools", ""))]
    if draft.tool_changes:
        found += _changed(found, draft.tool_changes)
    tools = Tools([], {}, set(), {}, set())
    for tool in found:
        if tool.in_force:
            _declare(draft, tool, tools)
    if len(set(tools.by_client_name.values())) != len(tools.by_client_name):
        raise _not_unique()
    return tools


def _not_unique() -> Exception:
    return refused("tools", "Tool names must be unique.")


def _changed(found: list[_Tool], changes: list[tuple[Json, str]]) -> list[_Tool]:
    """Puts tools in and out of force in the order of the conversation; returns those defined on the way."""
    by_name: dict[str, list[_Tool]] = {}
    for tool in found:
        if isinstance(tool.name, str):
            by_name.setdefault(tool.name, []).append(tool)
    servers = {name for tool in found if isinstance(name := tool.definition.get("mcp_server_name"), str)}
    defined = (_change(by_name, servers, block, path) for block, path in changes)
    return [tool for tool in defined if tool is not None]


def _change(by_name: dict[str, list[_Tool]], servers: set[str], block: Json, path: str) -> _Tool | None:
    kind = want.one_of(want.text(block, "type", path), ("tool_addition", "tool_removal"), f"{path}.type")
    where = f"{path}.tool"
    tool = want.mapping(block, "tool", path)
    reference = want.one_of(want.text(tool, "type", where), _REFERENCES, f"{where}.type")
    if reference == "tool_definition" and kind == "tool_addition":
        return _define(by_name, _Tool(want.mapping(tool, "definition", where), f"{where}.definition"))
    if reference == "tool_reference":
        name = want.text(tool, "name", where)
        if name not in by_name:
            raise refused(f"{where}.name", f"unknown tool '{name}'")
        for named in by_name[name]:
            named.in_force = kind == "tool_addition"
    elif (server := want.text(tool, "server_name", where)) not in servers:
        # A known server's tools are never declared here, so adding or removing one changes nothing.
        raise refused(f"{where}.server_name", f"unknown MCP server '{server}'")
    return None


def _define(by_name: dict[str, list[_Tool]], tool: _Tool) -> _Tool:
    """A definition takes the place of an earlier one of its name."""
    if isinstance(tool.name, str):
        for old in by_name.get(tool.name, ()):
            old.in_force = False
        by_name[tool.name] = [tool]
    return tool


def _declare(draft: Draft, tool: _Tool, tools: Tools) -> None:
    kind = want.optional_text(tool.definition, "type", tool.path)
    if tool.name == _PLACEHOLDER and tool.definition.get("defer_loading") is True:
        return
    if kind is None or kind == "custom":
        _custom(draft, tool, tools)
    elif kind in canned.FIXED:
        _fixed(draft, tool, kind, tools)
    elif kind in canned.COMPUTERS:
        _computer(draft, tool, kind, tools)
    elif kind in TOOLSETS:
        _toolset(draft, tool, kind, tools)
    elif hosted := draft.hosted(tool.definition, kind, tool.path):
        _hosted(tool, hosted, tools)
    elif "input_schema" in tool.definition:
        draft.warnings.add("approx", tool.path, f"tool type '{kind}' is not known")
        _custom(draft, tool, tools)
    else:
        draft.warnings.add("dropped", tool.path, f"tool type '{kind}' cannot run here")
        if isinstance(tool.name, str):
            _claim(tools, tool.name)
        tools.dropped.add(known_as := tool.name if isinstance(tool.name, str) else kind)
        if kind.startswith("web_search_"):
            tools.searches.add(known_as)


def _hosted(tool: _Tool, hosted: Hosted, tools: Tools) -> None:
    if isinstance(tool.name, str):
        _claim(tools, tool.name)
        tools.hosted[tool.name] = hosted
    tools.functions.append(msgspec.Raw(msgspec.json.encode(hosted.tool)))


def _claim(tools: Tools, name: str) -> None:
    if name in tools.by_client_name or name in tools.dropped or name in tools.hosted:
        raise _not_unique()


def _add(draft: Draft, tools: Tools, name: str, short: str, function: msgspec.Raw) -> None:
    _claim(tools, name)
    tools.by_client_name[name] = short
    draft.original_names[short] = name
    tools.functions.append(function)


def _custom(draft: Draft, tool: _Tool, tools: Tools) -> None:
    profile = draft.profile
    terms = functions.Terms(profile.tool_name_max, profile.tool_description_max, profile.strictness, draft.tool)
    made = functions.custom(tool.definition, tool.path, terms)
    for warning in made.warnings:
        draft.warnings.word(warning)
    if made.told:
        draft.tool_notes.append(made.told)
    _add(draft, tools, made.name, made.short, made.tool)


def _canned(draft: Draft, tool: _Tool, tools: Tools, name: str, like: Canned) -> str:
    definition = {"name": name, "description": like.description, "input_schema": like.parameters()}
    for key in ("input_examples", "strict"):
        if key in tool.definition:
            definition[key] = tool.definition[key]
    _custom(draft, _Tool(definition, tool.path), tools)
    return tools.by_client_name[name]


def _fixed(draft: Draft, tool: _Tool, kind: str, tools: Tools) -> None:
    name, like, approximate = canned.FIXED[kind]
    draft.warnings.unknown(tool.definition, _FIXED, tool.path)
    if approximate:
        draft.warnings.add("approx", tool.path)
    _canned(draft, tool, tools, name, like)


def _computer(draft: Draft, tool: _Tool, kind: str, tools: Tools) -> None:
    definition, path = tool.definition, tool.path
    draft.warnings.unknown(definition, _COMPUTER, path)
    width = want.integer(definition, "display_width_px", path)
    height = want.integer(definition, "display_height_px", path)
    like = canned.computer(kind, width, height, zoom=want.flag(definition, "enable_zoom", path))
    draft.warnings.add("approx", path)
    _canned(draft, tool, tools, "computer", like)


def _toolset(draft: Draft, tool: _Tool, kind: str, tools: Tools) -> None:
    family, members = TOOLSETS[kind]
    draft.warnings.unknown(tool.definition, _TOOLSET, tool.path)
    configs = want.optional_mapping(tool.definition, "configs", tool.path)
    for member, like in members.items():
        config = want.optional_mapping(configs, member, f"{tool.path}.configs")
        if config.get("enabled") is None or want.flag(config, "enabled", f"{tool.path}.configs.{member}"):
            short = _canned(draft, tool, tools, f"{family}__{member}", like)
            draft.toolsets[short] = (family, member)
            del draft.original_names[short]
    draft.warnings.unknown(configs, frozenset(members), f"{tool.path}.configs")
