"""Tools of a Responses request, and which of them the model shall call (docs/mapping.md 6.5)."""

from typing import Any

from extproc.translate import checked
from extproc.translate import openai_members as members
from extproc.translate.checked import Json, Warnings, refused
from extproc.translate.conversation import AnyTool, HostedTool, McpServer, Tool, ToolChoice, WebSearch
from extproc.translate.openai_content import cache_hint

SHELL = "local_shell"
# Codex declares the tools of an MCP server as one namespace; calls name it beside the tool.
NAMESPACE_SEAM = "__"
_WEB_SEARCH = "web_search"
_MODES = ("auto", "required", "none")
_COMMON = ("type", "allowed_callers", "async", "cache_control", "defer_loading", "output_schema",
           "prompt_cache_breakpoint")  # fmt: skip
_FUNCTION = frozenset((*_COMMON, "name", "description", "parameters", "strict"))
_CUSTOM = frozenset((*_COMMON, "name", "description", "format"))
_NAMESPACE = frozenset(("type", "name", "description", "tools"))
_SEARCH = frozenset(("type", "external_web_access", "filters", "search_content_types", "search_context_size",
                     "user_location"))  # fmt: skip
_MCP = frozenset(("type", "allowed_callers", "allowed_tools", "authorization", "defer_loading", "require_approval",
                  "server_description", "server_label", "server_url"))  # fmt: skip
_SHELL_PARAMETERS: Json = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}},
        "workdir": {"type": "string"},
        "timeout_ms": {"type": "integer"},
    },
    "required": ["command"],
}
# https://platform.openai.com/docs/api-reference/responses/create#responses-create-tool_choice
_HOSTED = (
    "apply_patch", "code_interpreter", "computer", "computer_use", "computer_use_preview", "file_search",
    "image_generation", "local_shell", "mcp", "programmatic_tool_calling", "shell", "tool_search", "web_search",
    "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
)  # fmt: skip


class Tools:
    """Collects tools in the client's order, each name once."""

    def __init__(self, warnings: Warnings) -> None:
        self.namespaces: dict[str, tuple[str, str]] = {}
        """Full name of a tool -> its namespace and the name in it."""
        self._warnings = warnings
        self._tools: list[AnyTool] = []

    @property
    def names(self) -> set[str]:
        return {tool.name for tool in self._tools if isinstance(tool, Tool)}

    def declared(self) -> tuple[AnyTool, ...]:
        """Raises Refused for names that are not unique."""
        names = [tool.name for tool in self._tools if isinstance(tool, Tool)]
        if len(set(names)) != len(names):
            raise refused("tools", "Tool names must be unique.")
        return tuple(self._tools)

    def full_name(self, namespace: str | None, name: str) -> str:
        """Other dialects know no namespaces."""
        if not namespace:
            return name
        whole = _full_name(namespace, name)
        self.namespaces[whole] = (namespace, name)
        return whole

    def read(self, found: list[Any], path: str) -> None:
        """`path`: of the list."""
        for n, item in enumerate(found):
            self._read_one(item, f"{path}.{n}")

    def _read_one(self, found: Any, path: str) -> None:
        tool = checked.item(found, path)
        kind = checked.text(tool, "type", path)
        if kind in ("function", "custom"):
            self._tools.append(_own_tool(tool, path, self._warnings))
        elif kind == "namespace":
            self._namespace(tool, path)
        elif kind == SHELL:
            # https://platform.openai.com/docs/guides/tools-local-shell: the model knows its parameters, others must be
            # told.
            description = "Runs a command on the user's machine."
            self._tools.append(Tool(SHELL, path, description, _SHELL_PARAMETERS, kind="shell"))
        # Versions have their date behind the name, as in `web_search_preview_2025_03_11`.
        elif kind.startswith(_WEB_SEARCH):
            self._tools.append(self._web_search(tool, kind, path))
        else:
            self._tools.append(self._mcp_server(tool, path) if kind == "mcp" else HostedTool(path, kind))

    def _namespace(self, space: Json, path: str) -> None:
        self._warnings.unknown(space, _NAMESPACE, path)
        name, about = checked.text(space, "name", path), checked.optional_text(space, "description", path) or ""
        for n, item in enumerate(checked.sequence(space, "tools", path)):
            where = f"{path}.tools.{n}"
            tool = checked.item(item, where)
            checked.one_of(checked.text(tool, "type", where), ("function", "custom"), f"{where}.type")
            member = _namespace_tool({"tool": tool, "namespace": name, "about": about}, where, self._warnings)
            self.full_name(name, tool["name"])
            self._tools.append(member)

    def _web_search(self, tool: Json, kind: str, path: str) -> WebSearch:
        self._warnings.unknown(tool, _SEARCH, path)
        filters = checked.optional_mapping(tool, "filters", path)
        domains = checked.optional_texts(filters, "allowed_domains", f"{path}.filters")
        location = members.location(checked.optional_mapping(tool, "user_location", path))
        is_live = tool.get("external_web_access") is None or checked.flag(tool, "external_web_access", path)
        return WebSearch(path, kind, tuple(domains), location, is_live)

    def _mcp_server(self, tool: Json, path: str) -> McpServer | HostedTool:
        """Only a server whose tools may be called freely: nobody else asks the user before a call."""
        allowed = tool.get("allowed_tools")
        # OpenAI can allow the tools that only read, whatever their names are; Anthropic's connector knows names alone.
        by_effect = isinstance(allowed, dict) and allowed.get("read_only") is not None
        if tool.get("require_approval") != "never" or by_effect or tool.get("server_url") is None:
            return HostedTool(path, "mcp")
        self._warnings.unknown(tool, _MCP, path)
        names = None
        if allowed is not None:
            holder, key, where = (
                (allowed, "tool_names", f"{path}.allowed_tools")
                if isinstance(allowed, dict)
                else (tool, "allowed_tools", path)
            )
            names = tuple(checked.optional_texts(holder, key, where))
        return McpServer(
            path,
            label=checked.text(tool, "server_label", path),
            url=checked.text(tool, "server_url", path),
            authorization=checked.optional_text(tool, "authorization", path),
            allowed_tools=names,
        )


def _full_name(namespace: str, name: str) -> str:
    return f"{namespace}{NAMESPACE_SEAM}{name}" if namespace else name


@checked.remembered
def _own_tool(tool: Json, path: str, warnings: Warnings) -> Tool:
    return _client_tool(tool, path, warnings)


@checked.remembered
def _namespace_tool(member: Json, path: str, warnings: Warnings) -> Tool:
    """`member`: the tool, the name of its namespace, and the description of that."""
    return _client_tool(member["tool"], path, warnings, member["namespace"], member["about"])


def _client_tool(tool: Json, path: str, warnings: Warnings, namespace: str = "", about: str = "") -> Tool:
    """A function or custom tool."""
    custom = tool["type"] == "custom"
    warnings.unknown(tool, _CUSTOM if custom else _FUNCTION, path)
    if checked.flag(tool, "async", path):
        warnings.add("dropped", f"{path}.async", "the model waits for every call")
    name = checked.text(tool, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    described = (about, checked.optional_text(tool, "description", path))
    return Tool(
        name=_full_name(namespace, name),
        path=path,
        description="\n\n".join(text for text in described if text),
        parameters=None if custom else checked.optional_mapping(tool, "parameters", path) or None,
        # Absent is not false: OpenAI tries strict mode then.
        strict=None if custom or tool.get("strict") is None else checked.flag(tool, "strict", path),
        kind="custom" if custom else "function",
        grammar=members.grammar(checked.optional_mapping(tool, "format", path)) if custom else None,
        cache=cache_hint(tool),
    )


def read_choice(body: Json, tools: Tools) -> ToolChoice | None:
    """Raises Refused for a tool that is not declared."""
    path = "tool_choice"
    found = body.get(path)
    if found is None:
        return None
    if isinstance(found, str):
        mode = checked.one_of(found, _MODES, path)
        return ToolChoice("required" if mode == "required" else "none" if mode == "none" else "auto", path)
    choice = checked.mapping(body, path, "")
    kind = checked.optional_text(choice, "type", path) or "function"
    checked.one_of(kind, ("function", "custom", "allowed_tools", *_HOSTED), f"{path}.type")
    if kind == "allowed_tools":
        return _allowed(choice, path, tools)
    name, where = _chosen(choice, path, tools)
    return ToolChoice("required", where, name=name, hosted="" if name else kind)


def _allowed(choice: Json, path: str, tools: Tools) -> ToolChoice:
    mode = checked.one_of(checked.text(choice, "mode", path), ("auto", "required"), f"{path}.mode")
    chosen = []
    for n, item in enumerate(checked.sequence(choice, "tools", path)):
        name, where = _chosen(checked.item(item, f"{path}.tools.{n}"), f"{path}.tools.{n}", tools)
        chosen.append((name or checked.text(item, "type", where), where))
    return ToolChoice("required" if mode == "required" else "auto", path, allowed=tuple(chosen))


def _chosen(tool: Json, path: str, tools: Tools) -> tuple[str, str]:
    """Full name and path of the tool that is meant; no name for one that the provider runs."""
    kind = checked.optional_text(tool, "type", path) or "function"
    if kind == SHELL and SHELL in tools.names:
        return SHELL, path
    if kind not in ("function", "custom"):
        return "", path
    name = tools.full_name(checked.optional_text(tool, "namespace", path), checked.text(tool, "name", path))
    if tools.names and name not in tools.names:
        raise refused(f"{path}.name", f"Tool '{name[:128]}' not found in provided tools")
    return name, f"{path}.name"
