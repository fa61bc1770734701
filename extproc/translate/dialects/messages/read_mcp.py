"""MCP servers of a Messages request, which the provider calls itself (docs/mapping.md 6.1)."""

from extproc.translate import want
from extproc.translate.conversation import McpServer
from extproc.translate.want import Json, refused
from extproc.translate.warnings import Warnings

_SERVER = frozenset(("type", "name", "url", "authorization_token", "tool_configuration"))
_CONFIGURATION = frozenset(("enabled", "allowed_tools"))
_TOOLSET = frozenset(("type", "mcp_server_name", "cache_control", "configs", "default_config", "tools"))


class McpServers:
    def __init__(self, body: Json, warnings: Warnings) -> None:
        self._body = body
        self._warnings = warnings

    def toolset(self, toolset: Json, path: str) -> list[McpServer]:
        """The server of an `mcp_toolset` tool; none where not one of its tools may be called. Raises Refused."""
        name = want.text(toolset, "mcp_server_name", path)
        self._warnings.unknown(toolset, _TOOLSET, path)
        if name not in (servers := self._by_name()):
            raise refused(f"{path}.mcp_server_name", f"unknown MCP server '{name}'")
        allowed = _allowed(toolset, path)
        return [] if allowed == [] else [self._server(*servers[name], allowed)]

    def lone_servers(self) -> list[McpServer]:
        """Servers that no toolset names: an older form, which tells with the server what may be called."""
        tools = want.optional_sequence(self._body, "tools", "")
        named = [tool.get("mcp_server_name") for tool in tools if isinstance(tool, dict)]
        found = []
        for name, (server, path) in self._by_name().items():
            where = f"{path}.tool_configuration"
            configuration = want.optional_mapping(server, "tool_configuration", path)
            self._warnings.unknown(configuration, _CONFIGURATION, where)
            is_on = configuration.get("enabled") is None or want.flag(configuration, "enabled", where)
            if is_on and name not in named:
                allowed = want.optional_texts(configuration, "allowed_tools", where) or None
                found.append(self._server(server, path, allowed))
        return found

    def _by_name(self) -> dict[str, tuple[Json, str]]:
        """The server and its path."""
        servers = {}
        for n, found in enumerate(want.optional_sequence(self._body, "mcp_servers", "")):
            path = f"mcp_servers.{n}"
            server = want.item(found, path)
            servers[want.text(server, "name", path)] = server, path
        return servers

    def _server(self, server: Json, path: str, allowed: list[str] | None) -> McpServer:
        """`allowed`: None for all of its tools."""
        self._warnings.unknown(server, _SERVER, path)
        return McpServer(
            path=path,
            label=server["name"],
            url=want.text(server, "url", path),
            authorization=want.optional_text(server, "authorization_token", path),
            allowed_tools=None if allowed is None else tuple(allowed),
        )


def _allowed(toolset: Json, path: str) -> list[str] | None:
    """The tools that may be called; None for all, since OpenAI knows no list of those that may not."""
    default = _enabled(want.optional_mapping(toolset, "default_config", path), f"{path}.default_config", True)
    pinned, where = want.optional_sequence(toolset, "tools", path), f"{path}.tools"
    found = {
        want.text(want.item(tool, f"{where}.{n}"), "name", f"{where}.{n}"): default for n, tool in enumerate(pinned)
    }
    configs = want.optional_mapping(toolset, "configs", path)
    for name in configs:
        config = want.optional_mapping(configs, name, f"{path}.configs")
        found[name] = _enabled(config, f"{path}.configs.{name}", default)
        if default and not pinned and not found[name]:
            raise refused(f"{path}.configs.{name}", "a tool can only be left out here where all are listed in `tools`")
    return None if default and not pinned else [name for name, on in found.items() if on]


def _enabled(config: Json, path: str, default: bool) -> bool:
    return default if config.get("enabled") is None else want.flag(config, "enabled", path)
