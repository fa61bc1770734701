"""Tool calls and results of Chat messages, old form and new (mapping 4.2)."""

from typing import Any

from extproc.translate import want
from extproc.translate.chat_on_messages import parts
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.pairing import Pairing
from extproc.translate.pair import Json
from extproc.translate.want import refused


class Calls:
    def __init__(self, draft: Draft, pairing: Pairing) -> None:
        self._draft = draft
        self._pairing = pairing
        self._legacy = ""
        """The id we gave the last `function_call`."""

    def of(self, message: Json, n: int) -> list[Json]:
        """The calls of an assistant message as blocks."""
        path = f"messages.{n}"
        blocks = []
        for k, item in enumerate(want.optional_sequence(message, "tool_calls", path)):
            where = f"{path}.tool_calls.{k}"
            blocks.append(self._call(want.item(item, where), where, f"{path}.tool_calls"))
        if message.get("function_call") is not None:
            where = f"{path}.function_call"
            self._legacy = f"call_fn_{n}"
            function = _function(want.mapping(message, "function_call", path), where)
            blocks.append(self._pairing.call(self._legacy, *function, where, f"{path}.tool_calls"))
        return blocks

    def result(self, message: Json, path: str) -> Json:
        """A tool message as a block."""
        call = want.text(message, "tool_call_id", path)
        return self._pairing.result(call, parts.result(self._draft, message, path), f"{path}.tool_call_id")

    def legacy_result(self, message: Json, path: str) -> Json:
        if not self._pairing.waits(self._legacy):
            raise refused(path, "no function call precedes this message")
        return self._pairing.result(self._legacy, parts.result(self._draft, message, path), path)

    def _call(self, call: Json, path: str, whole: str) -> Json:
        known_as = want.text(call, "id", path)
        kind = want.optional_text(call, "type", path) or ("custom" if "custom" in call else "function")
        if want.one_of(kind, ("function", "custom"), f"{path}.type") == "custom":
            custom = want.mapping(call, "custom", path)
            name = want.text(custom, "name", f"{path}.custom")
            return self._pairing.call(
                known_as, name, {"input": want.text(custom, "input", f"{path}.custom")}, path, whole
            )
        where = f"{path}.function"
        function = _function(want.mapping(call, "function", path), where)
        return self._pairing.call(known_as, *function, f"{where}.arguments", whole)


def _function(function: Json, path: str) -> tuple[str, Any]:
    name = want.text(function, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    return name, function.get("arguments")
