"""The input items of a Responses request as turns (docs/mapping.md 6.5)."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from extproc.translate import checked
from extproc.translate import openai_members as members
from extproc.translate.checked import Warnings, refused, unsupported
from extproc.translate.conversation import (
    ANTHROPIC,
    Audio,
    Compaction,
    FileId,
    Image,
    Reasoning,
    Refusal,
    ResultPart,
    Text,
    ToolCall,
    ToolResult,
    UserPart,
)
from extproc.translate.dialects.responses.read_tools import SHELL, Tools
from extproc.translate.openai_content import cache_hint, read_file, read_image
from extproc.translate.pair import Json
from extproc.translate.signature import unseal
from extproc.translate.turns import TurnBuilder

_NO_STATE = "nothing is stored here; send the items themselves"
_MARKS = ("type", "prompt_cache_breakpoint", "cache_control")
_PART_MEMBERS = {
    "input_text": frozenset((*_MARKS, "text")),
    "output_text": frozenset((*_MARKS, "text", "annotations", "logprobs")),
    "refusal": frozenset((*_MARKS, "refusal")),
    "input_image": frozenset((*_MARKS, "image_url", "file_id", "detail")),
    "input_file": frozenset((*_MARKS, "file_data", "file_url", "file_id", "filename", "detail")),
    "input_audio": frozenset((*_MARKS, "input_audio")),
}
_OF_RESULTS = ("input_text", "input_image", "input_file")
_OF_USERS = (*_OF_RESULTS, "input_audio")


class _Item(msgspec.Struct, kw_only=True, gc=False):
    type: Any = None
    id: Any = None
    status: Any = None


class _Message(_Item, kw_only=True, gc=False):
    role: str
    content: str | list[Json] | None = None
    phase: Any = None


class _OfCall(_Item, kw_only=True, gc=False):
    """What calls and results have in common."""

    caller: Any = None
    is_async: Any = msgspec.field(default=None, name="async")


class _Call(_OfCall, kw_only=True, gc=False):
    call_id: str
    name: str
    namespace: str | None = None


class _FunctionCall(_Call, kw_only=True, gc=False):
    arguments: Any = None


class _CustomCall(_Call, kw_only=True, gc=False):
    input: str


class _ShellAction(msgspec.Struct, gc=False):
    command: list[Any]
    working_directory: Any = None
    timeout_ms: Any = None


class _ShellCall(_OfCall, kw_only=True, gc=False):
    call_id: str
    action: _ShellAction
    id: str | None = None
    name: Any = None
    namespace: Any = None


class _Output(_OfCall, kw_only=True, gc=False):
    output: str | list[Json] | None = None
    name: Any = None
    namespace: Any = None


class _Result(_Output, kw_only=True, gc=False):
    call_id: str


class _ShellResult(_Output, kw_only=True, gc=False):
    call_id: str | None = None


class _AdditionalTools(_Item, kw_only=True, gc=False):
    tools: list[Any]
    role: Any = None


class _Configuration(_Item, kw_only=True, gc=False):
    reasoning: Json | None = None
    text: Json | None = None


_ITEMS: dict[str, type[_Item]] = {
    "message": _Message,
    "function_call": _FunctionCall,
    "custom_tool_call": _CustomCall,
    "local_shell_call": _ShellCall,
    "function_call_output": _Result,
    "custom_tool_call_output": _Result,
    "local_shell_call_output": _ShellResult,
    "additional_tools": _AdditionalTools,
    "configuration_update": _Configuration,
}
"""The items whose members are checked, and their types
(https://platform.openai.com/docs/api-reference/responses/create#responses-create-input)."""


class InputItems:
    """Reads each item once, in order."""

    def __init__(self, turns: TurnBuilder, tools: Tools, warnings: Warnings) -> None:
        self.reasoning: tuple[Json, str] | None = None
        """What an item said of reasoning last, and its path."""
        self.output_format: tuple[Any, str] | None = None
        self._turns = turns
        self._tools = tools
        self._warnings = warnings
        self._answered: frozenset[str] = frozenset()
        self._shell_items: dict[str, str] = {}
        """Ids of the shell's items -> the ids of their calls: results may name either."""
        self._kinds: dict[str, Callable[[Any, str], None]] = {
            "message": self._message,
            "reasoning": self._reasoning_item,
            "function_call": self._function_call,
            "custom_tool_call": self._custom_call,
            "local_shell_call": self._shell_call,
            "function_call_output": self._result,
            "custom_tool_call_output": self._result,
            "local_shell_call_output": self._shell_result,
            "additional_tools": self._additional_tools,
            "configuration_update": self._configuration,
            "compaction": self._compaction,
            "item_reference": _refuse_state,
            "compaction_trigger": _refuse_state,
        }

    def read(self, found: str | list[Json]) -> None:
        if isinstance(found, str):
            self._turns.user([Text(found, "input")] if found else [], "input")
            return
        # A call of OpenAI's own tools without a result tells the model nothing.
        self._answered = answered(found)
        for n, item in enumerate(found):
            self._item(item, f"input.{n}")

    def _item(self, item: Json, path: str) -> None:
        kind = checked.optional_text(item, "type", path)
        # OpenAI's own examples leave out the type of a message; a reference is known by being nothing but an id.
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        read = self._kinds.get(kind)
        if read is None:
            self._hosted(item, kind, path)
            return
        members = _ITEMS.get(kind)
        if members is None:
            read(item, path)
        else:
            self._warnings.unknown(item, checked.members(members), path)
            read(checked.typed(item, members, path), path)

    def _message(self, message: _Message, path: str) -> None:
        match checked.one_of(message.role, ("user", "assistant", "system", "developer"), f"{path}.role"):
            case "user":
                self._turns.user(self._content(message, path, self._user_part), path)
            case "assistant":
                self._turns.assistant(self._content(message, path, self._assistant_part), path)
            case _:
                self._turns.instructions(self._content(message, path, self._text_part), path)

    def _reasoning_item(self, item: Json, path: str) -> None:
        """Only what was sealed here means anything to another provider."""
        sealed = unseal(item.get("encrypted_content"))
        if sealed is None:
            if item.get("encrypted_content"):
                self._warnings.reasoning_left_out(path)
            return
        # Without Claude's signature the text alone would be refused.
        if sealed.f == ANTHROPIC and not isinstance(sealed.d, dict):
            return
        self._turns.assistant([Reasoning(sealed.f, sealed.t or _summary(item), sealed.d, path)], path)

    def _function_call(self, found: _FunctionCall, path: str) -> None:
        arguments = members.arguments(found.arguments)
        self._add(ToolCall(found.call_id, self._name(found, path), arguments, f"{path}.arguments"), path)

    def _custom_call(self, found: _CustomCall, path: str) -> None:
        self._add(ToolCall(found.call_id, self._name(found, path), found.input, f"{path}.input", "custom"), path)

    def _name(self, call: _Call, path: str) -> str:
        if not call.name:
            raise refused(f"{path}.name", "String should have at least 1 character")
        return self._tools.full_name(call.namespace, call.name)

    def _shell_call(self, found: _ShellCall, path: str) -> None:
        arguments: Json = {"command": found.action.command}
        if found.action.working_directory is not None:
            arguments["workdir"] = found.action.working_directory
        if found.action.timeout_ms is not None:
            arguments["timeout_ms"] = found.action.timeout_ms
        if found.id:
            self._shell_items[found.id] = found.call_id
        text = msgspec.json.encode(arguments).decode()
        self._add(ToolCall(found.call_id, SHELL, text, f"{path}.action", "shell"), path)

    def _add(self, call: ToolCall, path: str) -> None:
        self._turns.calls_at(path)
        self._turns.assistant([call], path)

    def _shell_result(self, found: _ShellResult, path: str) -> None:
        """The types of OpenAI's SDK give the result of a local shell the id of its call, under another name than all
        others."""
        if found.call_id is None:
            self._add_result(found, checked.text({"id": found.id}, "id", path), f"{path}.id", path)
        else:
            self._add_result(found, found.call_id, f"{path}.call_id", path)

    def _result(self, found: _Result, path: str) -> None:
        self._add_result(found, found.call_id, f"{path}.call_id", path)

    def _add_result(self, found: _Output, call_id: str, where: str, path: str) -> None:
        parts = _parts(found.output, f"{path}.output", self._seen_part)
        self._turns.result(ToolResult(self._shell_items.get(call_id, call_id), tuple(parts), f"{path}.output"), where)

    def _additional_tools(self, found: _AdditionalTools, path: str) -> None:
        self._tools.read(found.tools, f"{path}.tools")

    def _configuration(self, found: _Configuration, path: str) -> None:
        # The item changes both for what follows; a Messages or Chat request has one effort and one format.
        if found.reasoning is not None and found.reasoning.get("effort") is not None:
            self.reasoning = (found.reasoning, f"{path}.reasoning")
        if found.text is not None and found.text.get("format") is not None:
            self.output_format = (found.text["format"], f"{path}.text.format")

    def _compaction(self, item: Json, path: str) -> None:
        sealed = unseal(item.get("encrypted_content"))
        if sealed is None:
            self._warnings.add("dropped", path, "what another provider has compacted cannot be read")
        else:
            self._turns.assistant([Compaction(sealed.t or "", sealed.f, sealed.d, path)], path)

    def _hosted(self, item: Json, kind: str, path: str) -> None:
        """Calls of OpenAI's own tools cannot be calls here, but what they gave can be read."""
        text = hosted_call_text(item, kind, self._answered)
        self._warnings.add("approx" if text else "dropped", path, f"'{kind[:64]}' means nothing to this model")
        if text:
            self._turns.assistant([Text(text, path)], path)

    # Parts

    def _content(self, message: _Message, path: str, read: Callable[[Json, str], Any]) -> list[Any]:
        if message.content is None:
            raise checked.missing(f"{path}.content")
        return _parts(message.content, f"{path}.content", read)

    def _kind(self, part: Json, allowed: tuple[str, ...], path: str) -> str:
        kind = checked.one_of(checked.text(part, "type", path), allowed, f"{path}.type")
        self._warnings.unknown(part, _PART_MEMBERS[kind], path)
        return kind

    def _text_part(self, part: Json, path: str) -> Text:
        self._kind(part, ("input_text",), path)
        return _text(part, path)

    def _assistant_part(self, part: Json, path: str) -> Text | Refusal:
        kind = self._kind(part, ("output_text", "input_text", "refusal"), path)
        return Refusal(checked.text(part, "refusal", path), path) if kind == "refusal" else _text(part, path)

    def _user_part(self, part: Json, path: str) -> UserPart:
        kind = self._kind(part, _OF_USERS, path)
        if kind != "input_audio":
            return _seen(part, kind, path)
        audio, where = checked.mapping(part, "input_audio", path), f"{path}.input_audio"
        return Audio(checked.text(audio, "data", where), checked.text(audio, "format", where), path)

    def _seen_part(self, part: Json, path: str) -> ResultPart:
        return _seen(part, self._kind(part, _OF_RESULTS, path), path)


def _parts(found: str | list[Json] | None, path: str, read: Callable[[Json, str], Any]) -> list[Any]:
    """The parts, without empty text."""
    if isinstance(found, str):
        return [Text(found, path)] if found else []
    parts = [read(part, f"{path}.{n}") for n, part in enumerate(found or ())]
    return [part for part in parts if not isinstance(part, Text) or part.text]


def _refuse_state(_item: Json, path: str) -> None:
    raise unsupported(path, _NO_STATE)


def _text(part: Json, path: str) -> Text:
    return Text(checked.text(part, "text", path), path, cache_hint(part))


def _seen(part: Json, kind: str, path: str) -> ResultPart:
    hint = cache_hint(part)
    if kind == "input_text":
        return _text(part, path)
    if kind == "input_file":
        return read_file(part, path, hint)
    detail = checked.optional_text(part, "detail", path)
    if part.get("file_id") is not None:
        return Image(FileId(checked.text(part, "file_id", path)), f"{path}.file_id", detail, hint)
    return read_image(checked.text(part, "image_url", path), f"{path}.image_url", detail, hint)


def _summary(item: Json) -> str:
    parts = item.get("summary")
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "\n\n".join(text for text in texts if isinstance(text, str))


# Calls that OpenAI's own tools have made: they cannot be calls here, but what they gave can be read.

# What the tool was told, and what it gave, for calls that hold both.
_WHOLE = {
    "mcp_call": ("arguments", "output"),
    "code_interpreter_call": ("code", "outputs"),
    "file_search_call": ("queries", "results"),
}
# What the tool was told, for calls whose result is an item of its own.
_CALLS = {
    "computer_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "tool_search_call": "arguments",
    "program": "code",
}
_RESULTS = {
    "computer_call_output": "output",
    "shell_call_output": "output",
    "apply_patch_call_output": "output",
    "tool_search_output": "tools",
    "program_output": "result",
}


def answered(items: Iterable[Any]) -> frozenset[str]:
    """Ids of the calls that have a result."""
    results = (item for item in items if isinstance(item, dict) and str(item.get("type")) in _RESULTS)
    return frozenset(call for item in results if isinstance(call := item.get("call_id"), str))


def hosted_call_text(item: Json, kind: str, answered: frozenset[str]) -> str:
    """Empty where there is nothing to be read."""
    name = kind.removesuffix("_output").removesuffix("_call")
    if kind in _RESULTS:
        given = _said(item.get(_RESULTS[kind]))
        return f"[{name} result]\n{given}\n" if given else ""
    if kind in _CALLS:
        told = _said(item.get(_CALLS[kind]))
        return f"[{name} called with {told}]\n" if str(item.get("call_id")) in answered else ""
    return _whole(item, kind, name) if kind in _WHOLE else ""


def _whole(item: Json, kind: str, name: str) -> str:
    told, given = (_said(item.get(member)) for member in _WHOLE[kind])
    if kind == "mcp_call":
        name = f"{item.get('server_label')}.{item.get('name')}"
        failed = _said(item.get("error"))
        given = f"[error]\n{failed}" if failed else given and f"[result]\n{given}"
    elif given:
        given = f"[result]\n{given}"
    return f"[{name} called with {told}]\n{given}\n" if given else ""


def _said(value: Any) -> str:
    """Empty for nothing at all."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if value else ""
