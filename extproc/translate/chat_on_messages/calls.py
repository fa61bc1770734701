"""Tool calls of the history, and the results that answer them (mapping 4.2)."""

from typing import Any

from extproc.translate import want
from extproc.translate.arguments import tool_input
from extproc.translate.chat_on_messages import parts
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.names import client_id
from extproc.translate.pair import Json
from extproc.translate.want import refused


class Pairing:
    """Every call needs a result before the conversation goes on, and every result a call."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._open: dict[str, str] = {}
        """The client's ids of calls without a result -> the ids upstream."""
        self._order: dict[str, int] = {}
        self._used: set[str] = set()
        self._path = ""
        self._legacy = ""

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def calls(self, message: Json, n: int) -> list[Json]:
        """The calls of an assistant message as blocks."""
        path = f"messages.{n}"
        self._path, self._order = f"{path}.tool_calls", {}
        blocks = []
        for k, item in enumerate(want.optional_sequence(message, "tool_calls", path)):
            where = f"{path}.tool_calls.{k}"
            blocks.append(self._call(want.item(item, where), where))
        if message.get("function_call") is not None:
            where = f"{path}.function_call"
            self._legacy = f"call_fn_{n}"
            function = want.mapping(message, "function_call", path)
            blocks.append(self._block(self._legacy, *_function(function, where), where))
        return blocks

    def result(self, message: Json, path: str) -> Json:
        """A tool message as a block."""
        where = f"{path}.tool_call_id"
        call = want.text(message, "tool_call_id", path)
        if call not in self._open:
            raise refused(where, f"no tool call with the id '{call[:80]}' precedes this message")
        return self._result(call, message, path)

    def legacy_result(self, message: Json, path: str) -> Json:
        if self._legacy not in self._open:
            raise refused(path, "no function call precedes this message")
        return self._result(self._legacy, message, path)

    def settle(self) -> None:
        """The conversation goes on. Raises Refused for calls without a result."""
        if self._open:
            ids = ", ".join(call[:80] for call in self._open)
            raise refused(self._path, f"tool calls must be followed by tool messages; none answers: {ids}")

    def in_order(self, results: list[Json]) -> list[Json]:
        """As the calls were."""
        return sorted(results, key=lambda block: self._order[block["tool_use_id"]])

    def _call(self, call: Json, path: str) -> Json:
        known_as = want.text(call, "id", path)
        kind = want.optional_text(call, "type", path) or ("custom" if "custom" in call else "function")
        if want.one_of(kind, ("function", "custom"), f"{path}.type") == "custom":
            custom = want.mapping(call, "custom", path)
            name = want.text(custom, "name", f"{path}.custom")
            return self._block(known_as, name, {"input": want.text(custom, "input", f"{path}.custom")}, path)
        where = f"{path}.function"
        return self._block(known_as, *_function(want.mapping(call, "function", path), where), f"{where}.arguments")

    def _block(self, id: str, name: str, arguments: Any, path: str) -> Json:
        if not id or id in self._open:
            raise refused(path, "tool calls need ids of their own")
        value, meant = tool_input(arguments)
        if not meant and self._draft.profile.strictness == "strict":
            raise refused(path, "Input should be a JSON object")
        if not meant:
            self._draft.warnings.word(f"invalid_tool_arguments:{id[:80]}")
        self._open[id] = upstream_id = self._unique(client_id(id))
        self._order[upstream_id] = len(self._order)
        return {"type": "tool_use", "id": upstream_id, "name": self._draft.tool_name(name), "input": value}

    def _unique(self, id: str) -> str:
        """Some servers number the calls of each answer anew; for Anthropic ids are unique in a conversation."""
        unique, n = id, 1
        while unique in self._used:
            n += 1
            unique = f"{id}_{n}"
        self._used.add(unique)
        return unique

    def _result(self, id: str, message: Json, path: str) -> Json:
        block: Json = {"type": "tool_result", "tool_use_id": self._open.pop(id)}
        if content := parts.result(self._draft, message, path):
            block["content"] = content
        return block


def _function(function: Json, path: str) -> tuple[str, Any]:
    name = want.text(function, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    return name, function.get("arguments")
