"""A Responses request's tools (mapping 6.5)."""

from collections.abc import Iterator

from extproc.translate import want
from extproc.translate.on_messages import members
from extproc.translate.on_messages.cache import mark
from extproc.translate.on_messages.toolbox import Declared, Toolbox
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json
from extproc.translate.responses_on_messages.draft import SHELL, Draft

WEB_SEARCH = "web_search"
_MORE = frozenset((
    "type", "allowed_callers", "async", "cache_control", "defer_loading", "output_schema", "prompt_cache_breakpoint",
))  # fmt: skip
_NAMESPACE = frozenset(("type", "name", "description", "tools"))
_WEB_SEARCH = frozenset((
    "type", "external_web_access", "filters", "search_content_types", "search_context_size", "user_location",
))  # fmt: skip
_MCP = frozenset((
    "type", "allowed_callers", "allowed_tools", "authorization", "defer_loading", "require_approval",
    "server_description", "server_label", "server_url",
))  # fmt: skip
_SHELL: Json = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}},
        "workdir": {"type": "string"},
        "timeout_ms": {"type": "integer"},
    },
    "required": ["command"],
}


def declare(draft: Draft, turns: list[Turn]) -> Declared:
    box = Toolbox(draft, _MORE)
    for tool, path in _all(draft):
        _tool(draft, box, tool, path)
    return box.declare(turns)


def _all(draft: Draft) -> Iterator[tuple[Json, str]]:
    """Tools declared at the top, then those declared amid the input."""
    for n, item in enumerate(want.optional_sequence(draft.body, "tools", "")):
        yield want.item(item, f"tools.{n}"), f"tools.{n}"
    yield from draft.added_tools


def _tool(draft: Draft, box: Toolbox, tool: Json, path: str) -> None:
    kind = want.text(tool, "type", path)
    if kind in ("function", "custom"):
        _own(draft, box, tool, path)
    elif kind == "namespace":
        _namespace(draft, box, tool, path)
    elif kind == SHELL:
        name = box.named(draft.shell_name(), path)
        box.add({"name": name, "description": "Runs a command on the user's machine.", "input_schema": _SHELL})
    elif kind.startswith(WEB_SEARCH) and draft.profile.web_search:
        box.named(WEB_SEARCH, path)
        box.add(_web_search(draft, tool, path))
    elif kind == "mcp" and _is_reachable(draft, tool):
        _mcp(draft, box, tool, path)
    else:
        box.lose(kind, path)


def _own(draft: Draft, box: Toolbox, tool: Json, path: str, within: tuple[str, str] = ("", "")) -> None:
    if within[0] and isinstance(name := tool.get("name"), str):
        tool = {**tool, "name": draft.joined(within[0], name)}
    if want.flag(tool, "async", path):
        draft.warnings.add("dropped", f"{path}.async", "the model waits for every call")
    build = box.function if tool["type"] == "function" else box.custom
    box.add(mark(build(tool, path, within[1]), tool))


def _namespace(draft: Draft, box: Toolbox, space: Json, path: str) -> None:
    draft.warnings.unknown(space, _NAMESPACE, path)
    within = (want.text(space, "name", path), want.optional_text(space, "description", path) or "")
    for n, item in enumerate(want.sequence(space, "tools", path)):
        where = f"{path}.tools.{n}"
        tool = want.item(item, where)
        want.one_of(want.text(tool, "type", where), ("function", "custom"), f"{where}.type")
        _own(draft, box, tool, where, within)


def _is_reachable(draft: Draft, tool: Json) -> bool:
    """Anthropic asks nobody before it calls a server, nor tells tools that only read from others: so only one that
    may be called freely is handed on."""
    allowed = tool.get("allowed_tools")
    by_effect = isinstance(allowed, dict) and allowed.get("read_only") is not None
    free = tool.get("require_approval") == "never" and not by_effect
    return draft.profile.mcp and free and tool.get("server_url") is not None


def _mcp(draft: Draft, box: Toolbox, tool: Json, path: str) -> None:
    """https://platform.claude.com/docs/en/agents-and-tools/mcp-connector"""
    draft.warnings.unknown(_said(tool), _MCP, path)
    name = want.text(tool, "server_label", path)
    server: Json = {"type": "url", "url": want.text(tool, "server_url", path), "name": name}
    if token := want.optional_text(tool, "authorization", path):
        server["authorization_token"] = token
    draft.upstream.setdefault("mcp_servers", []).append(server)
    toolset: Json = {"type": "mcp_toolset", "mcp_server_name": name}
    if tool.get("allowed_tools") is not None:
        allowed = _allowed(tool, path)
        toolset |= {"default_config": {"enabled": False}, "configs": {name: {"enabled": True} for name in allowed}}
    box.add(toolset)


def _allowed(tool: Json, path: str) -> list[str]:
    """A list of names, or an object that holds it."""
    nested = isinstance(tool["allowed_tools"], dict)
    holder, key, where = (
        (tool["allowed_tools"], "tool_names", f"{path}.allowed_tools") if nested else (tool, "allowed_tools", path)
    )
    return want.optional_texts(holder, key, where)


def _said(tool: Json) -> Json:
    """SDKs write out what is absent."""
    return {name: value for name, value in tool.items() if value is not None}


def _web_search(draft: Draft, tool: Json, path: str) -> Json:
    draft.warnings.unknown(_said(tool), _WEB_SEARCH, path)
    if tool.get("external_web_access") is not None and not want.flag(tool, "external_web_access", path):
        draft.warnings.add("dropped", f"{path}.external_web_access", "the search reads the web as it is now")
    sent = members.web_search(want.optional_mapping(tool, "user_location", path))
    filters = want.optional_mapping(tool, "filters", path)
    if domains := want.optional_sequence(filters, "allowed_domains", f"{path}.filters"):
        sent["allowed_domains"] = domains
    return sent
