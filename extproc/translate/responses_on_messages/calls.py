"""Calls in a response: of functions, of custom tools, of the client's own shell (mapping 6.5)."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from extproc.translate.on_messages.arguments import decoded, free_text, written
from extproc.translate.pair import Json
from extproc.translate.responses_on_messages.output import Output
from extproc.wire.message_events import Delta
from extproc.wire.response_events import Frame


class Call(NamedTuple):
    id: str
    name: str
    namespace: str
    input: Any
    """What the block began with; the arguments where nothing follows."""


class CallItem(ABC):
    is_call: ClassVar[bool] = True
    kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, output: Output, suffix: str, call: Call) -> None:
        self._output = output
        self._call = call
        self._place = output.place()
        self._id = f"{self.prefix}_{suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place}
        self._pieces: list[str] = []
        output.add(self._place, self._item("", "in_progress"))

    def add(self, delta: Delta) -> int:
        piece = delta.partial_json
        if not piece:
            return 0
        self._pieces.append(piece)
        self._piece(piece)
        return len(piece)

    def close(self) -> None:
        if not self._pieces:
            self._pieces.append(written(self._call.input))
            self._piece(self._pieces[0])
        self._output.done(self._place, self._item(self._ended("".join(self._pieces)), "completed"))

    def _piece(self, piece: str) -> None:  # noqa: B027 - most can be told only as a whole
        """Some JSON of the arguments has come."""

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

    def _piece(self, piece: str) -> None:
        self._output.said(self._frame, piece)

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
        return {**self._named(), "input": given}


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
