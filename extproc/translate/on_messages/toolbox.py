"""Functions and custom tools as Anthropic's tools (mapping 4.4)."""

from typing import NamedTuple

from extproc.translate import want
from extproc.translate.on_messages import enforced, parameters
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json
from extproc.translate.want import refused

_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
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


class Toolbox:
    """Collects tools in the client's order, each name once."""

    def __init__(self, draft: Draft, more: frozenset[str] = frozenset()) -> None:
        """`more`: members that a tool of this dialect has besides its function's."""
        self._draft = draft
        self._more = more
        self.names: dict[str, str] = {}
        self.tools: list[Json] = []
        self.lost = False

    def lose(self, kind: str, path: str) -> None:
        self.lost = True
        self._draft.warnings.add("dropped", path, f"tool type '{kind[:64]}' cannot run here")

    def add(self, tool: Json) -> None:
        self.tools.append(tool)

    def function(self, function: Json, path: str, about: str = "") -> Json:
        """`about`: stands before the description."""
        self._draft.warnings.unknown(function, _FUNCTION | self._more, path)
        tool = self._named(function, path, about)
        where = f"{path}.parameters"
        schema, changed = parameters.rooted(want.optional_mapping(function, "parameters", path), where)
        if changed:
            problem = "the schema must be an object without alternatives at its top"
            self._draft.warnings.add("approx", where, problem)
        if want.flag(function, "strict", path):
            if self._draft.profile.strict_tools and enforced.can_be(schema, where):
                tool["strict"], schema = True, enforced.transformed(schema, where)
            else:
                self._draft.warnings.add("dropped", f"{path}.strict", "the schema cannot be enforced")
        tool["input_schema"] = schema
        return tool

    def custom(self, custom: Json, path: str, about: str = "") -> Json:
        """Free text as the one member of an object."""
        self._draft.warnings.unknown(custom, _CUSTOM | self._more, path)
        tool = self._named(custom, path, about)
        self._draft.warnings.add("emulated", path.removesuffix(".custom"), "a custom tool takes JSON here")
        self._draft.custom.add(tool["name"])
        if grammar := _grammar(want.optional_mapping(custom, "format", path)):
            tool["description"] = f"{tool['description']}\n\n{grammar}" if "description" in tool else grammar
        tool["input_schema"] = _INPUT
        return tool

    def named(self, name: str, path: str) -> str:
        """The name upstream of a tool that the client knows by `name`."""
        if not name:
            raise refused(f"{path}.name", "String should have at least 1 character")
        if name in self.names:
            raise _not_unique()
        self.names[name] = self._draft.tool_name(name)
        return self.names[name]

    def declare(self, turns: list[Turn]) -> Declared:
        """Writes the tools."""
        tools, profile = self.tools, self._draft.profile
        rebuilt = not tools and not self.lost and profile.tools_for_history and self._from_history(turns)
        named = [tool["name"] for tool in tools if "name" in tool]
        if len(set(named)) != len(named):
            raise _not_unique()
        if tools:
            self._draft.upstream["tools"] = tools
        return Declared(self.names, self.lost, rebuilt)

    def _named(self, holder: Json, path: str, about: str) -> Json:
        tool: Json = {"name": self.named(want.text(holder, "name", path), path)}
        said = (about, want.optional_text(holder, "description", path))
        if description := "\n\n".join(text for text in said if text):
            tool["description"] = description
        return tool

    def _from_history(self, turns: list[Turn]) -> bool:
        """Older models refuse calls of tools that nobody declared."""
        called = dict.fromkeys(b["name"] for turn in turns for b in turn.blocks if b["type"] == "tool_use")
        self.tools += [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in called]
        if called:
            problem = "the conversation holds calls of tools that are not declared"
            self._draft.warnings.add("emulated", "tools", problem)
        return bool(called)


def _not_unique() -> Exception:
    return refused("tools", "Tool names must be unique.")


def _grammar(format: Json) -> str:
    if format.get("type") != "grammar":
        return ""
    grammar = format.get("grammar")
    members = grammar if isinstance(grammar, dict) else format
    syntax, definition = members.get("syntax"), members.get("definition")
    if not isinstance(definition, str):
        return ""
    return f"The input must follow this grammar{f' ({syntax})' if isinstance(syntax, str) else ''}:\n{definition}"
