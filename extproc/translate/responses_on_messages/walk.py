"""The walk over `input`: reads each item once, in order, and leaves turns whose roles alternate (mapping 6.5)."""

from collections.abc import Callable
from typing import Any

from extproc.translate import want
from extproc.translate.dialects.responses import hosted_calls as foreign
from extproc.translate.on_messages.conversation import Conversation
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json
from extproc.translate.responses_on_messages import parts, thought
from extproc.translate.responses_on_messages.draft import Draft
from extproc.translate.want import refused, unsupported

_NO_STATE = "nothing is stored here; send the items themselves"
_ITEM = ("type", "id", "status")
_CALL = (*_ITEM, "call_id", "name", "namespace", "caller", "async")
_RESULT = (*_CALL, "output")
_KNOWN = {
    "message": frozenset((*_ITEM, "role", "content", "phase")),
    "function_call": frozenset((*_CALL, "arguments")),
    "custom_tool_call": frozenset((*_CALL, "input")),
    "local_shell_call": frozenset((*_CALL, "action")),
    "function_call_output": frozenset(_RESULT),
    "custom_tool_call_output": frozenset(_RESULT),
    "local_shell_call_output": frozenset(_RESULT),
    "additional_tools": frozenset((*_ITEM, "role", "tools")),
    "configuration_update": frozenset((*_ITEM, "reasoning", "text")),
}


def turns(draft: Draft) -> list[Turn]:
    """The conversation; instructions go to the draft unless they may stay where they are."""
    instructions = want.optional_text(draft.body, "instructions", "") or ""
    draft.system += [("instructions", block) for block in _text(instructions)]
    if isinstance(draft.body.get("input"), str):
        conversation = Conversation(draft)
        conversation.user(_text(draft.body["input"]), "input")
        return conversation.end()
    items = want.sequence(draft.body, "input", "")
    walk = _Walk(draft, foreign.answered(items))
    for n, item in enumerate(items):
        walk.read(want.item(item, f"input.{n}"), f"input.{n}")
    return walk.conversation.end()


def _text(text: str) -> list[Json]:
    """Anthropic refuses blank text."""
    return [{"type": "text", "text": text}] if text.strip() else []


class _Walk:
    def __init__(self, draft: Draft, answered: frozenset[str]) -> None:
        self._draft = draft
        self._answered = answered
        self.conversation = Conversation(draft)
        self._shells: dict[str, str] = {}
        """Items of the shell -> the ids of their calls: results may name either."""
        self._kinds: dict[str, Callable[[Json, str], None]] = {
            "message": self._message,
            "reasoning": self._reasoning,
            "function_call": self._function_call,
            "custom_tool_call": self._custom_call,
            "local_shell_call": self._shell_call,
            "function_call_output": self._result,
            "custom_tool_call_output": self._result,
            "local_shell_call_output": self._result,
            "additional_tools": self._tools,
            "configuration_update": self._update,
            "compaction": self._compaction,
            "item_reference": self._stored,
            "compaction_trigger": self._stored,
        }

    def read(self, item: Json, path: str) -> None:
        kind = want.optional_text(item, "type", path)
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        read = self._kinds.get(kind)
        if read is None:
            self._foreign(item, kind, path)
            return
        if kind in _KNOWN:
            self._draft.warnings.unknown(item, _KNOWN[kind], path)
        read(item, path)

    def _message(self, message: Json, path: str) -> None:
        role = want.text(message, "role", path)
        match want.one_of(role, ("user", "assistant", "system", "developer"), f"{path}.role"):
            case "user":
                self.conversation.user(parts.user(self._draft, message, path), path)
            case "assistant":
                self.conversation.assistant(parts.assistant(self._draft, message, path), path)
            case _:
                self.conversation.instructions(parts.texts(self._draft, message, path), path)

    def _reasoning(self, item: Json, path: str) -> None:
        block = thought.restored(item)
        self.conversation.assistant([] if block is None else [block], path)

    def _function_call(self, item: Json, path: str) -> None:
        self._call(item, path, item.get("arguments"), f"{path}.arguments")

    def _custom_call(self, item: Json, path: str) -> None:
        self._call(item, path, {"input": want.text(item, "input", path)}, path)

    def _call(self, item: Json, path: str, arguments: Any, where: str) -> None:
        name = want.text(item, "name", path)
        if not name:
            raise refused(f"{path}.name", "String should have at least 1 character")
        name = self._draft.joined(want.optional_text(item, "namespace", path), name)
        self._add(want.text(item, "call_id", path), name, arguments, path, where)

    def _shell_call(self, item: Json, path: str) -> None:
        action, where = want.mapping(item, "action", path), f"{path}.action"
        told: Json = {"command": want.sequence(action, "command", where)}
        for member, name in (("working_directory", "workdir"), ("timeout_ms", "timeout_ms")):
            if action.get(member) is not None:
                told[name] = action[member]
        call = want.text(item, "call_id", path)
        if known_as := want.optional_text(item, "id", path):
            self._shells[known_as] = call
        self._add(call, self._draft.shell_name(), told, path, where)

    def _add(self, call: str, name: str, arguments: Any, path: str, where: str) -> None:
        """A call that follows the result of another one belongs to the same turn only while one is open."""
        self.conversation.assistant([], path)
        block = self.conversation.pairing.call(call, name, arguments, where, path)
        self.conversation.assistant([block], path)

    def _result(self, item: Json, path: str) -> None:
        member = "id" if item.get("call_id") is None and item["type"] == "local_shell_call_output" else "call_id"
        call = want.text(item, member, path)
        call = self._shells.get(call, call)
        result = parts.output(self._draft, item, path)
        self.conversation.result(self.conversation.pairing.result(call, result, f"{path}.{member}"))

    def _tools(self, item: Json, path: str) -> None:
        for n, tool in enumerate(want.sequence(item, "tools", path)):
            where = f"{path}.tools.{n}"
            self._draft.added_tools.append((want.item(tool, where), where))

    def _update(self, item: Json, path: str) -> None:
        reasoning = want.optional_mapping(item, "reasoning", path)
        if reasoning.get("effort") is not None:
            self._draft.reasoning = (reasoning, f"{path}.reasoning")
        text = want.optional_mapping(item, "text", path)
        if text.get("format") is not None:
            self._draft.format = (want.mapping(text, "format", f"{path}.text"), f"{path}.text.format")

    def _compaction(self, item: Json, path: str) -> None:
        block = thought.restored_summary(item)
        if block is None:
            self._draft.warnings.add("dropped", path, "what another provider has compacted cannot be read")
        else:
            self.conversation.assistant([block], path)

    def _stored(self, _item: Json, path: str) -> None:
        raise unsupported(path, _NO_STATE)

    def _foreign(self, item: Json, kind: str, path: str) -> None:
        told = foreign.text(item, kind, self._answered)
        self._draft.warnings.add("approx" if told else "dropped", path, f"'{kind[:64]}' means nothing to this model")
        self.conversation.assistant(_text(told), path)
