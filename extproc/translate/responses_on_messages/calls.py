"""Calls in a response: of functions, of custom tools, of the client's own shell (mapping 6.5)."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from extproc.translate.on_messages.arguments import decoded, free_text, written
from extproc.translate.on_messages.calls import ToolCall
from extproc.translate.pair import Json
from extproc.translate.responses_on_messages.output import Output
from extproc.wire.response_events import Frame


class Call(NamedTuple):
    id: str
    name: str
    namespace: str
    input: Any
    """What the block began with; the arguments where nothing follows."""


class CallItem(ToolCall):
    kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, output: Output, suffix: str, call: Call) -> None:
        super().__init__(call.id, call.input)
        self._output = output
        self._call = call
        self._place = output.place()
        self._id = f"{self.prefix}_{suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place}
        output.add(self._place, self._item("", "in_progress"))

    def write_piece(self, piece: str) -> None:
        """Most can be written only as a whole."""

    def complete(self, arguments: str) -> None:
        self._output.done(self._place, self._item(self._ended(arguments), "completed"))

    def cut_short(self) -> None:
        """Codex runs an item when its end comes, whatever its status. So an item ends only if nobody can take it for
        whole."""
        self._output.incomplete(self._place, self._item("", "incomplete"), ends=False)

    @abstractmethod
    def _ended(self, arguments: str) -> str:
        """All of it has; returns what the item says of it."""

    @abstractmethod
    def _item(self, given: str, status: str) -> Json: ...

    def _named(self) -> Json:
        item: Json = {"type": self.kind, "id": self._id, "call_id": self._call.id, "name": self._call.name}
        return {**item, "namespace": self._call.namespace} if self._call.namespace else item


class FunctionCall(CallItem):
    """Its arguments pass as they come."""

    kind = "function_call"
    prefix = "fc"

    def __init__(self, output: Output, suffix: str, call: Call) -> None:
        super().__init__(output, suffix, call)
        self._frame = Frame("response.function_call_arguments.delta", self._where, {})

    def write_piece(self, piece: str) -> None:
        self._output.said(self._frame, piece)

    def cut_short(self) -> None:
        arguments = "".join(self.pieces) or (written(self.input) if self.input else "")
        self._output.incomplete(self._place, self._item(arguments, "incomplete"), ends=bool(self.pieces))

    def _ended(self, arguments: str) -> str:
        self._output.emit("response.function_call_arguments.done", **self._where, arguments=arguments)
        return arguments

    def _item(self, given: str, status: str) -> Json:
        return {**self._named(), "arguments": given, "status": status}


class CustomCall(CallItem):
    """Free text, which can be told from its JSON only when that is whole."""

    kind = "custom_tool_call"
    prefix = "ctc"

    def _ended(self, arguments: str) -> str:
        text = free_text(arguments)
        if text:
            self._output.emit("response.custom_tool_call_input.delta", **self._where, delta=text)
        self._output.emit("response.custom_tool_call_input.done", **self._where, input=text)
        return text

    def _item(self, given: str, status: str) -> Json:
        item: Json = {**self._named(), "input": given}
        return {**item, "status": status} if status == "incomplete" else item


class ShellCall(CallItem):
    """OpenAI's own tool: no events but its beginning and its end."""

    kind = "local_shell_call"
    prefix = "lsh"

    def _ended(self, arguments: str) -> str:
        return arguments

    def _item(self, given: str, status: str) -> Json:
        action = _action(decoded(given))
        return {"type": self.kind, "id": self._id, "call_id": self._call.id, "action": action, "status": status}


def _action(told: Any) -> Json:
    found = told if isinstance(told, dict) else {}
    command = found.get("command")
    words = command if isinstance(command, list) else [command]
    action: Json = {"type": "exec", "command": [word for word in words if isinstance(word, str)], "env": {}}
    if isinstance(found.get("workdir"), str):
        action["working_directory"] = found["workdir"]
    if type(found.get("timeout_ms")) is int:
        action["timeout_ms"] = found["timeout_ms"]
    return action
