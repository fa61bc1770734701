"""Tools that the upstream runs itself in the place of Anthropic: web search, and those of MCP servers."""

from extproc.translate import want
from extproc.translate.for_messages.draft import Draft, Hosted
from extproc.translate.want import Json, refused

_WEB_SEARCH = frozenset(
    ("type", "name", "allowed_domains", "user_location", "cache_control", "allowed_callers", "defer_loading", "strict")
)
_LOCATION = ("city", "country", "region", "timezone")
_SERVER = frozenset(("type", "name", "url", "authorization_token", "tool_configuration"))
_CONFIGURATION = frozenset(("enabled", "allowed_tools"))
_TOOLSET = frozenset(("type", "mcp_server_name", "cache_control", "configs", "default_config", "tools"))


def web_search(draft: Draft, definition: Json, path: str) -> Hosted:
    tool: Json = {"type": "web_search"}
    if domains := want.optional_texts(definition, "allowed_domains", path):
        tool["filters"] = {"allowed_domains": domains}
    if location := want.optional_mapping(definition, "user_location", path):
        where = f"{path}.user_location"
        told = {key: want.text(location, key, where) for key in _LOCATION if location.get(key) is not None}
        tool["user_location"] = {"type": "approximate", **told}
    named = {key: value for key, value in definition.items() if value is not None}
    draft.warnings.unknown(named, _WEB_SEARCH, path)
    # A choice by type is not to be had for it; of a list with one member the model must take that one.
    return Hosted(tool, {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]})


def mcp_toolset(draft: Draft, definition: Json, path: str) -> Hosted | None:
    """None: not one of its tools may be called."""
    name = want.text(definition, "mcp_server_name", path)
    draft.warnings.unknown(definition, _TOOLSET, path)
    if name not in (servers := _servers(draft)):
        raise refused(f"{path}.mcp_server_name", f"unknown MCP server '{name}'")
    allowed = _allowed(definition, path)
    return None if allowed == [] else Hosted(_mcp(draft, *servers[name], allowed))


def lone_servers(draft: Draft) -> list[Json]:
    """Servers that no toolset names: an older form, which says with the server what may be called."""
    tools = want.optional_sequence(draft.body, "tools", "")
    named = [tool.get("mcp_server_name") for tool in tools if isinstance(tool, dict)]
    found = []
    for name, (server, path) in _servers(draft).items():
        where = f"{path}.tool_configuration"
        configuration = want.optional_mapping(server, "tool_configuration", path)
        draft.warnings.unknown(configuration, _CONFIGURATION, where)
        on = configuration.get("enabled") is None or want.flag(configuration, "enabled", where)
        if on and name not in named:
            found.append(_mcp(draft, server, path, want.optional_texts(configuration, "allowed_tools", where) or None))
    return found


def _servers(draft: Draft) -> dict[str, tuple[Json, str]]:
    """By name: the server and its path."""
    servers = {}
    for n, found in enumerate(want.optional_sequence(draft.body, "mcp_servers", "")):
        path = f"mcp_servers.{n}"
        server = want.item(found, path)
        servers[want.text(server, "name", path)] = server, path
    return servers


def _mcp(draft: Draft, server: Json, path: str, allowed: list[str] | None) -> Json:
    """`allowed`: None for all of its tools."""
    draft.warnings.unknown(server, _SERVER, path)
    tool: Json = {"type": "mcp", "server_label": server["name"], "server_url": want.text(server, "url", path)}
    if token := want.optional_text(server, "authorization_token", path):
        tool["authorization"] = token
    if allowed is not None:
        tool["allowed_tools"] = allowed
    return {**tool, "require_approval": "never"}


def _allowed(definition: Json, path: str) -> list[str] | None:
    """The tools that may be called; None for all, since the upstream knows no list of those that may not."""
    default = _enabled(want.optional_mapping(definition, "default_config", path), f"{path}.default_config", True)
    pinned = want.optional_sequence(definition, "tools", path)
    where = f"{path}.tools"
    found = {
        want.text(want.item(tool, f"{where}.{n}"), "name", f"{where}.{n}"): default for n, tool in enumerate(pinned)
    }
    configs = want.optional_mapping(definition, "configs", path)
    for name in configs:
        config = want.optional_mapping(configs, name, f"{path}.configs")
        found[name] = _enabled(config, f"{path}.configs.{name}", default)
        if default and not pinned and not found[name]:
            raise refused(f"{path}.configs.{name}", "a tool can only be left out here where all are listed in `tools`")
    return None if default and not pinned else [name for name, on in found.items() if on]


def _enabled(config: Json, path: str, default: bool) -> bool:
    return default if config.get("enabled") is None else want.flag(config, "enabled", path)
