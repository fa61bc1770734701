"""Tools of a Chat request, and which of them the model shall call (docs/mapping.md 4.4)."""

from extproc.translate import checked
from extproc.translate import openai_members as members
from extproc.translate.checked import Json, Warnings, refused
from extproc.translate.conversation import AnyTool, HostedTool, Tool, ToolChoice, WebSearch
from extproc.translate.openai_content import cache_hint

_TOOL = frozenset(("type", "function", "custom", "cache_control", "prompt_cache_breakpoint"))
_FUNCTION = frozenset(("name", "description", "parameters", "strict"))
_CUSTOM = frozenset(("name", "description", "format"))
_MODES = ("auto", "required", "none")


def read(
    body: Json, listed: list[Json], functions: list[Json], warnings: Warnings
) -> tuple[tuple[AnyTool, ...], ToolChoice | None]:
    """`functions`: of clients that know no tools. Raises Refused for names that are not unique or not declared."""
    tools: list[AnyTool] = [_tool(tool, f"tools.{n}", warnings) for n, tool in enumerate(listed)]
    tools += [_function(function, f"functions.{n}", warnings) for n, function in enumerate(functions)]
    if body.get("web_search_options") is not None:
        tools.append(_web_search(checked.mapping(body, "web_search_options", "")))
    names = [tool.name for tool in tools if isinstance(tool, Tool)]
    if len(set(names)) != len(names):
        raise refused("tools", "Tool names must be unique.")
    return tuple(tools), _choice(body, frozenset(names))


@checked.remembered
def _tool(tool: Json, path: str, warnings: Warnings) -> AnyTool:
    """Many clients leave out the type: then a tool is what it holds."""
    filled = next((name for name in ("function", "custom") if isinstance(tool.get(name), dict)), "")
    kind = checked.optional_text(tool, "type", path) or filled or checked.text(tool, "type", path)
    if kind not in ("function", "custom"):
        return HostedTool(path, kind)
    warnings.unknown(tool, _TOOL, path)
    read_one = _function if kind == "function" else _custom
    return read_one(checked.mapping(tool, kind, path), f"{path}.{kind}", warnings, tool)


def _function(function: Json, path: str, warnings: Warnings, holder: Json | None = None) -> Tool:
    warnings.unknown(function, _FUNCTION, path)
    return Tool(
        name=_name(function, path),
        path=path,
        description=checked.optional_text(function, "description", path) or "",
        parameters=checked.optional_mapping(function, "parameters", path) or None,
        strict=None if function.get("strict") is None else checked.flag(function, "strict", path),
        cache=cache_hint(holder or {}),
    )


def _custom(custom: Json, path: str, warnings: Warnings, holder: Json | None = None) -> Tool:
    warnings.unknown(custom, _CUSTOM, path)
    return Tool(
        name=_name(custom, path),
        path=path,
        description=checked.optional_text(custom, "description", path) or "",
        kind="custom",
        grammar=members.grammar(checked.optional_mapping(custom, "format", path)),
        cache=cache_hint(holder or {}),
    )


def _name(holder: Json, path: str) -> str:
    name = checked.text(holder, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    return name


def _web_search(options: Json) -> WebSearch:
    path = "web_search_options"
    near = checked.optional_mapping(checked.optional_mapping(options, "user_location", path), "approximate", path)
    return WebSearch(path, path, location=members.location(near))


def _choice(body: Json, names: frozenset[str]) -> ToolChoice | None:
    member = "tool_choice" if body.get("tool_choice") is not None else "function_call"
    found = body.get(member)
    if found is None:
        return None
    if isinstance(found, str):
        mode = checked.one_of(found, _MODES, member)
        return ToolChoice("required" if mode == "required" else "none" if mode == "none" else "auto", member)
    choice = checked.mapping(body, member, "")
    kind = checked.optional_text(choice, "type", member)
    # The choice of a function, of the time before tools, has no type: `{"name": ...}`.
    if kind is None:
        return _named(checked.text(choice, "name", member), f"{member}.name", names)
    checked.one_of(kind, ("function", "custom", "allowed_tools"), f"{member}.type")
    if kind == "allowed_tools":
        return _allowed(checked.mapping(choice, kind, member), f"{member}.{kind}", names)
    return _named(*_chosen(choice, member), names)


def _named(name: str, path: str, names: frozenset[str]) -> ToolChoice:
    if names and name not in names:
        raise refused(path, f"Tool '{name[:128]}' not found in provided tools")
    return ToolChoice("required", path, name=name)


def _allowed(allowed: Json, path: str, names: frozenset[str]) -> ToolChoice:
    mode = checked.one_of(checked.text(allowed, "mode", path), ("auto", "required"), f"{path}.mode")
    chosen = []
    for n, item in enumerate(checked.sequence(allowed, "tools", path)):
        name, where = _chosen(checked.item(item, f"{path}.tools.{n}"), f"{path}.tools.{n}")
        if names and name not in names:
            raise refused(where, f"Tool '{name[:128]}' not found in provided tools")
        chosen.append((name, where))
    return ToolChoice("required" if mode == "required" else "auto", path, allowed=tuple(chosen))


def _chosen(tool: Json, path: str) -> tuple[str, str]:
    """The name, and its path: what belongs to a type stands in an object below it."""
    kind = checked.text(tool, "type", path)
    nested = isinstance(tool.get(kind), dict)
    holder, where = (tool[kind], f"{path}.{kind}") if nested else (tool, path)
    return checked.text(holder, "name", where), f"{where}.name"
