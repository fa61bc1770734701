"""Tools of a Messages request, and which of them the model shall call (docs/mapping.md 1.7)."""

from typing import Any, Literal

import msgspec

from extproc.providers.profiles import Profile
from extproc.translate import checked
from extproc.translate.checked import Json, Warnings, refused
from extproc.translate.conversation import AnyTool, HostedTool, McpServer, Setting, Tool, ToolChoice, WebSearch
from extproc.translate.dialects.messages import client_tools
from extproc.translate.dialects.messages.client_tools import TOOLSETS, ClientTool
from extproc.translate.dialects.messages.read_content import cache_hint
from extproc.wire.messages_request import Choice, CustomTool

_COMMON = ("type", "name", "cache_control", "allowed_callers", "defer_loading", "input_examples", "strict")
_FIXED = frozenset((*_COMMON, "max_characters"))
_COMPUTER = frozenset((*_COMMON, "display_width_px", "display_height_px", "display_number", "enable_zoom"))
_TOOLSET = frozenset(("type", "cache_control", "configs"))
_WEB_SEARCH = frozenset((
    "type", "name", "allowed_domains", "user_location", "cache_control", "allowed_callers", "defer_loading", "strict",
))  # fmt: skip
_LOCATION = ("city", "country", "region", "timezone")
# Claude Code keeps a place for tools that may come later; a model that may call it would.
_PLACEHOLDER = "DeferredToolPlaceholder"
_REFERENCES = ("tool_reference", "mcp_tool_reference", "mcp_toolset_reference", "tool_definition")
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use#forcing-tool-use
_CHOICES = ("auto", "any", "tool", "none")
NOT_AVAILABLE = (
    "web search is not available here; use another tool to reach the web, such as WebFetch or Bash, or say that you "
    "could not search"
)
_SEARCH_REQUEST = "Perform a web search for the query:"


class ToolReader:
    """Reads all tools in force. Raises Refused, also for names that are not unique."""

    def __init__(
        self, body: Json, tools: list[Json], changes: list[tuple[Json, str]], profile: Profile, warnings: Warnings
    ) -> None:
        """`changes`: tools that messages add and remove, each with its path."""
        self.tools: list[AnyTool] = []
        self.toolset_names: dict[str, tuple[str, str]] = {}
        """Full name of a tool -> (toolset, name)."""
        self._body = body
        self._profile = profile
        self._warnings = warnings
        self._hosted: list[str] = []
        """What the client calls tools that the provider runs."""
        # Anthropic lets messages add and remove tools, since other `tools` would change the beginning of the cached
        # prompt; elsewhere only the request says what there is (docs/mapping.md 1.4).
        for members, path in _in_force(tools, changes):
            if members.get("defer_loading") is True and members.get("name") == _PLACEHOLDER:
                continue
            kind = members.get("type")
            if kind is None or kind == "custom":
                self.tools.append(_read_custom(members, path, warnings))
            else:
                self._read(members, path, checked.text(members, "type", path))
        self._names = {tool.name for tool in self.tools if isinstance(tool, Tool)}
        self._check_names()
        if profile.mcp:
            self.tools += McpServers(body, warnings).lone_servers()

    def choice(self, choice: Choice | None) -> tuple[ToolChoice | None, Setting[bool] | None]:
        """What must be called, and whether calls may be parallel."""
        if choice is None:
            return None, None
        kind = checked.one_of(choice.type, _CHOICES, "tool_choice.type")
        self._warnings.unknown(self._body["tool_choice"], checked.members(Choice), "tool_choice")
        parallel = Setting(False, "tool_choice.disable_parallel_tool_use") if choice.disable_parallel_tool_use else None
        if kind == "tool":
            return self._named(checked.text(self._body["tool_choice"], "name", "tool_choice")), parallel
        mode: Literal["required", "none", "auto"] = (
            "required" if kind == "any" else "none" if kind == "none" else "auto"
        )
        return ToolChoice(mode, "tool_choice"), parallel

    def _named(self, name: str) -> ToolChoice:
        path = "tool_choice.name"
        if name in self._hosted:
            return ToolChoice("required", path, hosted=name)
        if (self._body.get("tools") or self._names) and name not in self._names:
            raise refused(path, f"Tool '{name}' not found in provided tools")
        return ToolChoice("required", path, name=name)

    def _read(self, members: Json, path: str, kind: str) -> None:
        if kind in client_tools.FIXED:
            self._fixed(members, path, kind)
        elif kind in client_tools.COMPUTERS:
            self._computer(members, path, kind)
        elif kind in TOOLSETS:
            self._toolset(members, path, kind)
        # Types end with the date of their version, so that the next one has another name.
        elif kind.startswith("web_search_"):
            self._add_hosted(self._web_search(members, path, kind))
        elif kind == "mcp_toolset" and self._profile.mcp:
            servers = McpServers(self._body, self._warnings).toolset(members, path)
            self.tools += servers or [HostedTool(path, kind)]
        elif "input_schema" in members:
            self._warnings.add("approx", path, f"tool type '{kind}' is not known")
            self._custom(members, path)
        else:
            self._add_hosted(HostedTool(path, kind, _text(members.get("name"))))

    def _check_names(self) -> None:
        own = sum(isinstance(tool, Tool) for tool in self.tools)
        hosted = [tool.name for tool in self.tools if isinstance(tool, WebSearch | HostedTool) and tool.name]
        if len(self._names) < own or len(self._names.union(hosted)) < own + len(hosted):
            raise refused("tools", "Tool names must be unique.")

    def _custom(self, members: Json, path: str) -> None:
        self.tools.append(_read_custom(members, path, self._warnings))

    def _add_hosted(self, hosted: WebSearch | HostedTool) -> None:
        self._hosted.append(hosted.name or hosted.type)
        self.tools.append(hosted)

    def _web_search(self, members: Json, path: str, kind: str) -> WebSearch:
        name = _text(members.get("name"))
        if not self._profile.web_search:
            return WebSearch(path, kind, name=name)
        domains = tuple(checked.optional_texts(members, "allowed_domains", path))
        location, where = checked.optional_mapping(members, "user_location", path), f"{path}.user_location"
        self._warnings.unknown(members, _WEB_SEARCH, path)
        near = {key: checked.text(location, key, where) for key in _LOCATION if location.get(key) is not None}
        return WebSearch(path, kind, domains, near, name=name)

    def _known(self, members: Json, path: str, name: str, like: ClientTool) -> None:
        known = {"name": name, "description": like.description, "input_schema": like.parameters()}
        known |= {key: members[key] for key in ("input_examples", "strict") if key in members}
        self._custom(known, path)

    def _fixed(self, members: Json, path: str, kind: str) -> None:
        name, like, is_approximate = client_tools.FIXED[kind]
        self._warnings.unknown(members, _FIXED, path)
        if is_approximate:
            self._warnings.add("approx", path)
        self._known(members, path, name, like)

    def _computer(self, members: Json, path: str, kind: str) -> None:
        self._warnings.unknown(members, _COMPUTER, path)
        width = checked.integer(members, "display_width_px", path)
        height = checked.integer(members, "display_height_px", path)
        like = client_tools.computer(kind, width, height, zoom=checked.flag(members, "enable_zoom", path))
        self._warnings.add("approx", path)
        self._known(members, path, "computer", like)

    def _toolset(self, members: Json, path: str, kind: str) -> None:
        toolset, known = TOOLSETS[kind]
        self._warnings.unknown(members, _TOOLSET, path)
        configs = checked.optional_mapping(members, "configs", path)
        for name, like in known.items():
            config = checked.optional_mapping(configs, name, f"{path}.configs")
            if config.get("enabled") is None or checked.flag(config, "enabled", f"{path}.configs.{name}"):
                # A name may hold no dot; Claude Code joins the names of MCP tools in the same way.
                full = f"{toolset}__{name}"
                self._known(members, path, full, like)
                self.toolset_names[full] = (toolset, name)
        self._warnings.unknown(configs, frozenset(known), f"{path}.configs")


def answer_without_search(messages: list[Any]) -> str:
    """What a client that wants nothing but a search gets where the provider has none, else an empty string.

    Claude Code's WebSearch sends such a request and hands the answer on to its model. A refusal would reach the model
    as the text of an API error, and a provider without the tool would make results up.
    """
    if len(messages) != 1:
        return ""
    content = messages[0].get("content")
    if isinstance(content, list) and len(content) == 1:
        content = content[0].get("text")
    return NOT_AVAILABLE if isinstance(content, str) and content.startswith(_SEARCH_REQUEST) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


@checked.remembered
def _read_custom(members: Json, path: str, warnings: Warnings) -> Tool:
    found = checked.typed(members, CustomTool, path)
    if not found.name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    warnings.unknown(members, checked.members(CustomTool), path)
    description = found.description or ""
    # OpenAI has no member for them:
    # https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use#providing-tool-use-examples.
    if found.input_examples:
        description = f"{description}\n\nExamples: {msgspec.json.encode(found.input_examples).decode()}".lstrip()
    return Tool(
        name=found.name,
        path=path,
        description=description,
        parameters=found.input_schema,
        strict=found.strict or False,
        cache=cache_hint(members),
        schema_name="input_schema",
    )


def _in_force(tools: list[Json], changes: list[tuple[Json, str]]) -> list[tuple[Json, str]]:
    """The tools at the end of the conversation, each with its path."""
    found = [(tool, f"tools.{n}") for n, tool in enumerate(tools)]
    return _changed(found, changes) if changes else found


class _Definition:
    """A tool of the client's, and whether it is in force at the end of the conversation."""

    __slots__ = ("in_force", "members", "name", "path")

    def __init__(self, members: Json, path: str) -> None:
        self.members = members
        self.path = path
        kind = members.get("type")
        toolset = TOOLSETS.get(kind) if isinstance(kind, str) else None
        self.name = toolset[0] if toolset else members.get("name")
        self.in_force = True


def _changed(tools: list[tuple[Json, str]], changes: list[tuple[Json, str]]) -> list[tuple[Json, str]]:
    """Puts tools in and out of force in the order of the conversation, and adds those that are defined on the way."""
    found = [_Definition(members, path) for members, path in tools]
    by_name: dict[str, list[_Definition]] = {}
    for tool in found:
        if isinstance(tool.name, str):
            by_name.setdefault(tool.name, []).append(tool)
    servers = {name for tool in found if isinstance(name := tool.members.get("mcp_server_name"), str)}
    for block, path in changes:
        if (defined := _change(by_name, servers, block, path)) is not None:
            found.append(defined)
    return [(tool.members, tool.path) for tool in found if tool.in_force]


def _change(by_name: dict[str, list[_Definition]], servers: set[str], block: Json, path: str) -> _Definition | None:
    kind = checked.one_of(checked.text(block, "type", path), ("tool_addition", "tool_removal"), f"{path}.type")
    where = f"{path}.tool"
    tool = checked.mapping(block, "tool", path)
    reference = checked.one_of(checked.text(tool, "type", where), _REFERENCES, f"{where}.type")
    if reference == "tool_definition" and kind == "tool_addition":
        return _define(by_name, _Definition(checked.mapping(tool, "definition", where), f"{where}.definition"))
    if reference == "tool_reference":
        name = checked.text(tool, "name", where)
        if name not in by_name:
            raise refused(f"{where}.name", f"unknown tool '{name}'")
        for named in by_name[name]:
            named.in_force = kind == "tool_addition"
    elif (server := checked.text(tool, "server_name", where)) not in servers:
        # A known server's tools are never declared here, so adding or removing one changes nothing.
        raise refused(f"{where}.server_name", f"unknown MCP server '{server}'")
    return None


def _define(by_name: dict[str, list[_Definition]], tool: _Definition) -> _Definition:
    """A definition takes the place of an earlier one of its name."""
    if isinstance(tool.name, str):
        for old in by_name.get(tool.name, ()):
            old.in_force = False
        by_name[tool.name] = [tool]
    return tool


# MCP servers, which the provider calls itself (docs/mapping.md 6.1)

_SERVER = frozenset(("type", "name", "url", "authorization_token", "tool_configuration"))
_CONFIGURATION = frozenset(("enabled", "allowed_tools"))
_MCP_TOOLSET = frozenset(("type", "mcp_server_name", "cache_control", "configs", "default_config", "tools"))


class McpServers:
    def __init__(self, body: Json, warnings: Warnings) -> None:
        self._body = body
        self._warnings = warnings

    def toolset(self, toolset: Json, path: str) -> list[McpServer]:
        """The server of an `mcp_toolset` tool; none where not one of its tools may be called. Raises Refused."""
        name = checked.text(toolset, "mcp_server_name", path)
        self._warnings.unknown(toolset, _MCP_TOOLSET, path)
        if name not in (servers := self._by_name()):
            raise refused(f"{path}.mcp_server_name", f"unknown MCP server '{name}'")
        allowed = _allowed(toolset, path)
        return [] if allowed == [] else [self._server(*servers[name], allowed)]

    def lone_servers(self) -> list[McpServer]:
        """Servers that no toolset names: an older form, which tells with the server what may be called."""
        tools = checked.optional_sequence(self._body, "tools", "")
        named = [tool.get("mcp_server_name") for tool in tools if isinstance(tool, dict)]
        found = []
        for name, (server, path) in self._by_name().items():
            where = f"{path}.tool_configuration"
            configuration = checked.optional_mapping(server, "tool_configuration", path)
            self._warnings.unknown(configuration, _CONFIGURATION, where)
            is_on = configuration.get("enabled") is None or checked.flag(configuration, "enabled", where)
            if is_on and name not in named:
                allowed = checked.optional_texts(configuration, "allowed_tools", where) or None
                found.append(self._server(server, path, allowed))
        return found

    def _by_name(self) -> dict[str, tuple[Json, str]]:
        """The server and its path."""
        servers = {}
        for n, found in enumerate(checked.optional_sequence(self._body, "mcp_servers", "")):
            path = f"mcp_servers.{n}"
            server = checked.item(found, path)
            servers[checked.text(server, "name", path)] = server, path
        return servers

    def _server(self, server: Json, path: str, allowed: list[str] | None) -> McpServer:
        """`allowed`: None for all of its tools."""
        self._warnings.unknown(server, _SERVER, path)
        return McpServer(
            path=path,
            label=server["name"],
            url=checked.text(server, "url", path),
            authorization=checked.optional_text(server, "authorization_token", path),
            allowed_tools=None if allowed is None else tuple(allowed),
        )


def _allowed(toolset: Json, path: str) -> list[str] | None:
    """The tools that may be called; None for all, since OpenAI knows no list of those that may not."""
    default = _enabled(checked.optional_mapping(toolset, "default_config", path), f"{path}.default_config", True)
    pinned, where = checked.optional_sequence(toolset, "tools", path), f"{path}.tools"
    found = {
        checked.text(checked.item(tool, f"{where}.{n}"), "name", f"{where}.{n}"): default
        for n, tool in enumerate(pinned)
    }
    configs = checked.optional_mapping(toolset, "configs", path)
    for name in configs:
        config = checked.optional_mapping(configs, name, f"{path}.configs")
        found[name] = _enabled(config, f"{path}.configs.{name}", default)
        if default and not pinned and not found[name]:
            raise refused(f"{path}.configs.{name}", "a tool can only be left out here where all are listed in `tools`")
    return None if default and not pinned else [name for name, on in found.items() if on]


def _enabled(config: Json, path: str, default: bool) -> bool:
    return default if config.get("enabled") is None else checked.flag(config, "enabled", path)
