"""Tools of a Messages request, and which of them the model shall call (docs/mapping.md 4.4, 6.5)."""

from collections.abc import Sequence

import msgspec

from extproc.translate import schema
from extproc.translate.checked import Json, Warnings, refused, unsupported
from extproc.translate.conversation import Conversation, HostedTool, McpServer, Tool, ToolChoice, WebSearch
from extproc.translate.dialects.messages import enforced_schema
from extproc.translate.dialects.messages.write_messages import MessageTurn, cache_control
from extproc.translate.names import ToolNames, unique_names
from extproc.translate.pair import Target
from extproc.translate.provider_request import (
    CALL_ONE,
    CALL_THIS,
    CUSTOM_PARAMETERS,
    custom_description,
)

SEARCH = "web_search"
_MODES = {"auto": "auto", "required": "any", "none": "none"}
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
_CHAT_SEARCH = "web_search_options"


class WrittenTools(msgspec.Struct, frozen=True):
    members: Json
    """`mcp_servers`, `tools` and `tool_choice`, as far as there are any."""
    note: str = ""
    """What the system prompt says of a call to which the model cannot be made."""

    @property
    def is_forced(self) -> bool:
        return self.members.get("tool_choice", {}).get("type") in ("any", "tool")


class ToolWriter:
    def __init__(self, conversation: Conversation, target: Target, names: ToolNames, warnings: Warnings) -> None:
        self._conversation = conversation
        self._profile = target.profile
        self._names = names
        self._warnings = warnings
        self._tools: list[Json] = []
        self._servers: list[Json] = []
        self._declared: dict[str, str] = {}
        """The client's names of tools that can be chosen -> the provider's."""
        self._has_lost = False

    def write(self, turns: Sequence[MessageTurn]) -> WrittenTools:
        """`turns`: older models refuse calls in the history of tools that nobody declares. Raises Refused."""
        for tool in self._conversation.tools:
            match tool:
                case Tool():
                    self._tools.append(self._tool(tool))
                case WebSearch():
                    self._web_search(tool)
                case McpServer(path) if not self._profile.mcp:
                    self._lose("mcp", path)
                case McpServer():
                    self._mcp_server(tool)
                case HostedTool(path, kind):
                    self._lose(kind, path)
        is_rebuilt = not self._tools and not self._has_lost and self._declare_called(turns)
        unique_names([tool["name"] for tool in self._tools if "name" in tool])
        return self._with_choice(is_rebuilt=is_rebuilt)

    # Tools

    def _lose(self, kind: str, path: str) -> None:
        self._has_lost = True
        self._warnings.add("dropped", path, f"tool type '{kind[:64]}' cannot run here")

    def _declare(self, name: str) -> str:
        if name in self._declared:
            raise refused("tools", "Tool names must be unique.")
        self._declared[name] = self._names.upstream(name)
        return self._declared[name]

    def _tool(self, tool: Tool) -> Json:
        found: Json = {"name": self._declare(tool.name)}
        is_custom = tool.kind == "custom"
        if description := custom_description(tool, self._warnings) if is_custom else tool.description:
            found["description"] = description
        if is_custom:
            found["input_schema"] = CUSTOM_PARAMETERS
        else:
            self._input_schema(found, tool)
        if tool.cache is not None:
            found["cache_control"] = cache_control(tool.cache)
        return found

    def _input_schema(self, found: Json, tool: Tool) -> None:
        where = f"{tool.path}.{tool.schema_name}"
        parameters, has_changed = _with_object_root(tool.parameters or {}, where)
        if has_changed:
            problem = "the schema must be an object without alternatives at its top"
            self._warnings.add("approx", where, problem)
        # https://platform.claude.com/docs/en/build-with-claude/structured-outputs#strict-tool-use
        if tool.strict and self._profile.strict_tools and enforced_schema.can_be(parameters, where):
            found["strict"] = True
            parameters = enforced_schema.transformed(parameters, where)
        elif tool.strict:
            self._warnings.add("dropped", f"{tool.path}.strict", "the schema cannot be enforced")
        found["input_schema"] = parameters

    def _web_search(self, tool: WebSearch) -> None:
        """https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool"""
        if not self._profile.web_search:
            _refuse_lost_search(tool)
            self._lose(tool.type, tool.path)
            return
        if not tool.is_live:
            problem = "the search reads the web as it is now"
            self._warnings.add("dropped", f"{tool.path}.external_web_access", problem)
        if tool.type != _CHAT_SEARCH:
            self._declare(SEARCH)
        # Without a bound the model may search as often as it likes, and each search is billed.
        found: Json = {"type": "web_search_20250305", "name": SEARCH, "max_uses": 5}
        if tool.location:
            found["user_location"] = {"type": "approximate", **tool.location}
        if tool.allowed_domains:
            found["allowed_domains"] = list(tool.allowed_domains)
        self._tools.append(found)

    def _mcp_server(self, server: McpServer) -> None:
        """https://platform.claude.com/docs/en/agents-and-tools/mcp-connector"""
        sent: Json = {"type": "url", "url": server.url, "name": server.label}
        if server.authorization:
            sent["authorization_token"] = server.authorization
        self._servers.append(sent)
        toolset: Json = {"type": "mcp_toolset", "mcp_server_name": server.label}
        if server.allowed_tools is not None:
            configs = {name: {"enabled": True} for name in server.allowed_tools}
            # OpenAI lists what may be called, Anthropic switches tools of a server on and off.
            toolset |= {"default_config": {"enabled": False}, "configs": configs}
        self._tools.append(toolset)

    def _declare_called(self, turns: Sequence[MessageTurn]) -> bool:
        """Declares the tools of the history; returns whether there are any."""
        if not self._profile.tools_for_history:
            return False
        # Older models refuse a conversation with calls of tools that the request does not declare. Nobody can run them,
        # so that none may be called.
        blocks = (block for turn in turns for block in turn.blocks)
        called = dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use")
        self._tools += [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in called]
        if called:
            problem = "the conversation holds calls of tools that are not declared"
            self._warnings.add("emulated", "tools", problem)
        return bool(called)

    # Choice

    def _with_choice(self, *, is_rebuilt: bool) -> WrittenTools:
        wanted = self._conversation.tool_choice
        choice = None if wanted is None else self._choice(wanted)
        members: Json = {"mcp_servers": self._servers} if self._servers else {}
        if not self._tools:
            if self._has_lost and choice is not None and choice["type"] in ("any", "tool"):
                # A choice that leaves only tools which cannot run here must not be dropped.
                raise unsupported("tool_choice", "none of the tools can run with this model")
            return WrittenTools(members)
        members["tools"] = self._tools
        if is_rebuilt:
            return WrittenTools(members | {"tool_choice": {"type": "none"}})
        choice, note = self._possible(self._with_parallel(choice))
        return WrittenTools(members if choice is None else members | {"tool_choice": choice}, note)

    def _choice(self, wanted: ToolChoice) -> Json:
        if wanted.allowed is not None:
            self._allow_only(wanted)
        if wanted.hosted:
            name = self._hosted_name(wanted.hosted, wanted.path)
            if not name:
                raise unsupported(wanted.path, "this tool cannot run with this model")
            return {"type": "tool", "name": name}
        if not wanted.name:
            return {"type": _MODES[wanted.mode]}
        if self._declared and wanted.name not in self._declared:
            raise refused(wanted.path, f"Tool '{wanted.name[:128]}' not found in provided tools")
        return {"type": "tool", "name": self._declared.get(wanted.name, wanted.name)}

    def _hosted_name(self, kind: str, path: str) -> str:
        """The name of a tool that is chosen by its type, or an empty string for one that cannot run here."""
        if kind == "mcp" and self._servers:
            raise unsupported(path, "the tools of a server cannot be chosen among others")
        return self._declared.get(SEARCH if kind.startswith(SEARCH) else kind, "")

    def _allow_only(self, wanted: ToolChoice) -> None:
        """Anthropic has no such choice, so that only the tools that are named are declared."""
        kept = {self._declared.get(name) or self._hosted_name(name, path) for name, path in wanted.allowed or ()}
        tools = [tool for tool in self._tools if tool.get("name") in kept]
        if self._tools and not tools:
            raise refused(f"{wanted.path}.tools", "at least one tool is required")
        if self._tools:
            self._tools = tools
            # A choice is by name, and toolsets of servers have none; Anthropic refuses a server without its toolset.
            self._servers = []

    def _with_parallel(self, choice: Json | None) -> Json | None:
        parallel = self._conversation.parallel_tool_calls
        if parallel is None or parallel.value:
            return choice
        # For Anthropic it is a member of the choice, and one that `none` does not have.
        choice = choice or {"type": "auto"}
        return choice if choice["type"] == "none" else {**choice, "disable_parallel_tool_use": True}

    def _possible(self, choice: Json | None) -> tuple[Json | None, str]:
        """The choice, and what the system prompt says for one to which this model cannot be made."""
        # Fable 5.1 and later take `auto` and `none` only, and refuse the others (docs/models.md).
        if choice is None or self._profile.forced_tool_choice or choice["type"] not in ("any", "tool"):
            return choice, ""
        self._warnings.add("emulated", "tool_choice", "this model cannot be made to call a tool")
        note = CALL_ONE if choice["type"] == "any" else CALL_THIS.format(choice["name"])
        return {name: value for name, value in choice.items() if name != "name"} | {"type": "auto"}, note


def _refuse_lost_search(tool: WebSearch) -> None:
    """Chat asks for the web by a member of the request, not by a tool that the model may or may not use: an answer
    without it would not be what was asked for (docs/mapping.md 4.1). Raises Refused."""
    if tool.type == _CHAT_SEARCH:
        raise unsupported(tool.path, "web_search is not available with this model")


def _with_object_root(parameters: Json, path: str) -> tuple[Json, bool]:
    """The schema with the root that Anthropic wants, an object without alternatives, and whether its meaning had to
    change. Raises Refused for one that joins too much."""
    # Anthropic requires a schema; OpenAI takes none for no parameters.
    if not parameters:
        return {"type": "object", "properties": {}}, False
    has_changed = any(key in parameters for key in _ALTERNATIVES)
    if has_changed:
        parameters = schema.united(parameters, path)
    kind = parameters.get("type")
    if kind == "object":
        return parameters, has_changed
    if kind is None or (isinstance(kind, list) and "object" in kind):
        return {**parameters, "type": "object"}, has_changed
    return {"type": "object", "properties": {}}, True
