"""The messages of a Messages request as turns (docs/mapping.md 1.3, 1.4): each is read once, in order."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from extproc.translate import checked
from extproc.translate.checked import Json, Warnings, refused, unsupported
from extproc.translate.conversation import (
    AssistantPart,
    AssistantTurn,
    Compaction,
    Document,
    Image,
    PlainText,
    SystemTurn,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    UserPart,
    UserTurn,
)
from extproc.translate.dialects.messages.read_content import ContentReader, read_thinking
from extproc.translate.media import framed_document
from extproc.translate.provider_error import rejected
from extproc.translate.signature import unseal

EFFORTS = ("low", "medium", "high", "xhigh", "max")
SUMMARY = "[Summary of the earlier conversation]\n"
_BILLING = "x-anthropic-billing-header:"
_ROLES = ("user", "assistant", "system")
_CLEAR = ("next_user_message", "never")
_MESSAGE = frozenset(("role", "content"))
_SYSTEM_MESSAGE = frozenset(("role", "content", "clear_at", "output_config"))
_TOOL_USE = frozenset(("type", "id", "name", "input", "cache_control", "caller", "toolset_name"))
_TOOL_CHANGES = ("tool_addition", "tool_removal")
_ASSISTANT_ONLY = frozenset(("tool_use", "thinking", "redacted_thinking"))


class Rules(NamedTuple):
    """What the reading depends on besides the body."""

    strips_billing: bool
    """Claude Code puts a line into the system prompt that differs per request: elsewhere it spoils prefix caches."""
    refuses_old: bool
    """The client speaks the API version that gave up some members, and the operator wants it to be told."""
    keeps_places: bool
    """The provider takes instructions in the midst of the conversation."""


class _User:
    def __init__(self, path: str) -> None:
        self.path = path
        self.results: list[ToolResult] = []
        self.parts: list[UserPart] = []


class _Assistant:
    """Neighbouring messages of the assistant."""

    def __init__(self) -> None:
        self.messages: list[AssistantTurn] = []

    @property
    def path(self) -> str:
        return self.messages[-1].path

    @property
    def calls(self) -> list[ToolCall]:
        return [call for message in self.messages for call in message.calls]

    def is_empty(self) -> bool:
        """Only reasoning, or nothing at all: providers refuse such a turn."""
        parts = (part for message in self.messages for part in message.parts)
        return not any(isinstance(part, Text | ToolCall | Compaction) for part in parts)


class _System:
    def __init__(self, path: str, parts: list[Text]) -> None:
        self.path = path
        self.parts = parts
        self.is_late = False
        """The client put it between calls and their results."""


_Building = _User | _Assistant | _System


class TurnReader:
    def __init__(self, body: Json, rules: Rules, warnings: Warnings) -> None:
        self.leading: list[Text] = []
        """Instructions before the first turn."""
        self.effort: tuple[str, str] | None = None
        """The last effort that a message asks for, and its path."""
        self.tool_changes: list[tuple[Json, str]] = []
        self.toolset_names: dict[str, tuple[str, str]] = {}
        """Full name of a tool that was called -> (toolset, name)."""
        self._messages = checked.sequence(body, "messages", "")
        self._rules = rules
        self._warnings = warnings
        self._content = ContentReader(warnings)
        self._turns: list[_Building] = []
        self._last_user = _last_user(self._messages)

    def turns(self) -> tuple[Turn, ...]:
        """Roles alternate, but for neighbouring messages of the assistant. Raises Refused."""
        leading = next((n for n, message in enumerate(self._messages) if not _is_system(message)), len(self._messages))
        for n in range(leading):
            self._message(n, 0)
        start = self._compaction()
        if start.part is not None:
            self._resume(start.part)
        for n in range(max(start.message, leading), len(self._messages)):
            self._message(n, start.block if n == start.message else 0)
        self._drop_empty_assistant()
        if not self._turns:
            raise refused("messages", "at least one message is required")
        return tuple(self._built())

    def system_text(self, found: Any, path: str) -> Text | None:
        """A text block of a system prompt or message; None when nothing of it travels."""
        block = checked.item(found, path)
        checked.one_of(checked.text(block, "type", path), ("text",), f"{path}.type")
        text = self._content.text(block, path)
        if text is None or (self._rules.strips_billing and text.text.startswith(_BILLING)):
            return None
        return text

    def _message(self, n: int, first: int) -> None:
        """`first`: the first block to be read."""
        path = f"messages.{n}"
        message = checked.item(self._messages[n], path)
        role = checked.one_of(checked.text(message, "role", path), _ROLES, f"{path}.role")
        if role == "system":
            self._system(message, n, path)
            return
        content = message.get("content")
        if not isinstance(content, str | list):
            checked.sequence(message, "content", path)
        self._warnings.unknown(message, _MESSAGE, path)
        if role == "user":
            self._user(content, path, first)
        else:
            self._assistant(content, path, first)

    # The user

    def _user(self, content: Any, path: str, first: int) -> None:
        self._drop_empty_assistant()
        last = self._turns[-1] if self._turns else None
        turn = last if isinstance(last, _User) else _User(path)
        if isinstance(content, str):
            turn.parts += [Text(content, f"{path}.content")] if content else []
        else:
            for n in range(first, len(content)):
                self._user_block(turn, checked.item(content[n], f"{path}.content.{n}"), path, n)
        if turn is not last and (turn.parts or turn.results):
            self._place(turn, path)

    def _place(self, turn: _User, path: str) -> None:
        """Nothing may stand between calls and their results, not even instructions."""
        before = self._turns[-2] if turn.results and len(self._turns) > 1 else None
        between = self._turns[-1] if self._turns else None
        if not (isinstance(before, _Assistant) and before.calls and isinstance(between, _System)):
            self._turns.append(turn)
            return
        if self._rules.keeps_places:
            self._warnings.add("reordered", path, "tool results must follow the calls directly")
        between.is_late = True
        self._turns.insert(-1, turn)

    def _user_block(self, turn: _User, block: Json, path: str, n: int) -> None:
        where = f"{path}.content.{n}"
        kind = checked.text(block, "type", where)
        if kind == "text":
            if block.get("citations") and self._rules.refuses_old:
                raise refused(f"{where}.citations", "Extra inputs are not permitted")
            if text := self._content.text(block, where):
                turn.parts.append(text)
        elif kind == "tool_result":
            if turn.parts:
                self._warnings.add("reordered", f"{path}.content", "tool_result blocks must come first")
            turn.results.append(self._content.result(block, where))
        elif kind == "image":
            turn.parts.append(self._content.image(block, where))
        elif kind in _ASSISTANT_ONLY:
            raise refused(where, f"`{kind}` blocks may only be in `assistant` messages")
        else:
            turn.parts += self._content.shared(block, kind, where)

    # The assistant

    def _assistant(self, content: Any, path: str, first: int) -> None:
        parts: list[AssistantPart] = []
        if isinstance(content, str):
            parts = [Text(content, f"{path}.content")] if content else []
        else:
            for n in range(first, len(content)):
                where = f"{path}.content.{n}"
                parts += self._assistant_block(checked.item(content[n], where), where)
        last = self._turns[-1] if self._turns else None
        if not isinstance(last, _Assistant):
            last = _Assistant()
            self._turns.append(last)
        last.messages.append(AssistantTurn(tuple(parts), path))

    def _assistant_block(self, block: Json, path: str) -> Sequence[AssistantPart]:
        match checked.text(block, "type", path):
            case "text":
                text = self._content.text(block, path)
                return [] if text is None else [text]
            case "tool_use":
                return [self._call(block, path)]
            case "thinking" | "redacted_thinking":
                reasoning = read_thinking(block, path)
                return [] if reasoning is None else [reasoning]
            case "image":
                problem = "an image in an assistant turn cannot be sent on"
                raise unsupported(path, rejected(problem, "image_block"))
            case "tool_result":
                raise refused(path, "`tool_result` blocks may only be in `user` messages")
            case kind:
                if kind == "document" and self._rules.refuses_old:
                    raise refused(path, "document blocks may only be in `user` messages")
                return [_only_text(part, path) for part in self._content.shared(block, kind, path)]

    def _call(self, block: Json, path: str) -> ToolCall:
        call_id, name = checked.text(block, "id", path), checked.text(block, "name", path)
        if not name:
            raise refused(f"{path}.name", "String should have at least 1 character")
        arguments = msgspec.json.encode(checked.mapping(block, "input", path)).decode()
        self._warnings.unknown(block, _TOOL_USE, path)
        if (toolset := checked.optional_text(block, "toolset_name", path)) is not None:
            full = f"{toolset}__{name}"
            self.toolset_names.setdefault(full, (toolset, name))
            name = full
        return ToolCall(call_id, name, arguments, f"{path}.input")

    def _drop_empty_assistant(self) -> None:
        """Then its neighbours meet."""
        last = self._turns[-1] if self._turns else None
        if isinstance(last, _Assistant) and last.is_empty():
            self._turns.pop()

    # Instructions

    def _system(self, message: Json, n: int, path: str) -> None:
        self._warnings.unknown(message, _SYSTEM_MESSAGE, path)
        self.effort = read_effort(message, path) or self.effort
        clear_at = checked.optional_text(message, "clear_at", path)
        if clear_at is not None:
            checked.one_of(clear_at, _CLEAR, f"{path}.clear_at")
        parts = self._system_parts(message, path)
        if not parts or (clear_at == "next_user_message" and n < self._last_user):
            return
        self._drop_empty_assistant()
        last = self._turns[-1] if self._turns else None
        if last is None:
            self.leading += parts
        elif isinstance(last, _System):
            last.parts += parts
        else:
            self._turns.append(_System(path, parts))

    def _system_parts(self, message: Json, path: str) -> list[Text]:
        content = message.get("content")
        if content is None and message.get("output_config"):
            return []
        if isinstance(content, str):
            return [Text(content, f"{path}.content")] if content else []
        parts = []
        for n, found in enumerate(checked.sequence(message, "content", path)):
            where = f"{path}.content.{n}"
            block = checked.item(found, where)
            if block.get("type") in _TOOL_CHANGES:
                self.tool_changes.append((block, where))
            elif part := self.system_text(block, where):
                parts.append(part)
        return parts

    # What has been compacted

    def _compaction(self) -> "_Start":
        """The last compaction that has a text; it stands for all that was before."""
        for n in range(len(self._messages) - 1, -1, -1):
            content = self._messages[n].get("content") if isinstance(self._messages[n], dict) else None
            blocks = content if isinstance(content, list) else []
            for k in range(len(blocks) - 1, -1, -1):
                block = blocks[k]
                if isinstance(block, dict) and block.get("type") == "compaction" and block.get("content") is not None:
                    return self._start(n, k, block)
        return _Start()

    def _start(self, message: int, n: int, block: Json) -> "_Start":
        path = f"messages.{message}.content.{n}"
        for i, change in enumerate(checked.optional_sequence(block, "tool_changes", path)):
            where = f"{path}.tool_changes.{i}"
            self.tool_changes.append((checked.item(change, where), where))
        text, sealed = checked.text(block, "content", path), unseal(block.get("encrypted_content"))
        carrier, data = (sealed.f, sealed.d) if sealed is not None else ("", None)
        return _Start(message, n + 1, Compaction(text, carrier, data, path))

    def _resume(self, compaction: Compaction) -> None:
        """What only the provider that made it can read stands as the model's; a summary as the user's."""
        if compaction.data is not None:
            turn = _Assistant()
            turn.messages.append(AssistantTurn((compaction,), compaction.path))
            self._turns.append(turn)
            return
        summary = _User(compaction.path)
        summary.parts.append(Text(SUMMARY + compaction.text, compaction.path))
        self._turns.append(summary)

    # Calls and results

    def _built(self) -> Iterator[Turn]:
        for n, turn in enumerate(self._turns):
            match turn:
                case _System():
                    yield SystemTurn(tuple(turn.parts), turn.path, turn.is_late, "drop")
                case _User():
                    yield UserTurn(self._paired(n, turn), tuple(turn.parts), turn.path)
                case _Assistant():
                    following = self._turns[n + 1] if n + 1 < len(self._turns) else None
                    if turn.calls and not isinstance(following, _User):
                        raise _unanswered(turn, [call.id for call in turn.calls])
                    yield from (message for message in turn.messages if message.parts)

    def _paired(self, n: int, turn: _User) -> tuple[ToolResult, ...]:
        """The results in the order of the calls that they answer, each exactly once."""
        before = self._turns[n - 1] if n else None
        calls = before.calls if isinstance(before, _Assistant) else []
        known = {call.id for call in calls}
        by_id: dict[str, ToolResult] = {}
        for result in turn.results:
            if result.call_id not in known:
                raise refused(
                    result.path,
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {result.call_id}. Each `tool_result` "
                    "block must have a corresponding `tool_use` block in the previous message.",
                )
            if result.call_id in by_id:
                raise refused(result.path, f"each tool_use must have a single result. Found multiple: {result.call_id}")
            by_id[result.call_id] = result
        if len(known) != len(calls):
            raise refused("messages", "`tool_use` ids must be unique")
        if isinstance(before, _Assistant) and len(by_id) != len(known):
            raise _unanswered(before, [call.id for call in calls if call.id not in by_id])
        return tuple(by_id[call.id] for call in calls)


class _Start(NamedTuple):
    """Where the conversation begins once a compaction has replaced what was before."""

    message: int = 0
    block: int = 0
    part: Compaction | None = None


def read_effort(holder: Json, path: str) -> tuple[str, str] | None:
    """The effort in `output_config` of the request or of a message, with its path."""
    config = checked.optional_mapping(holder, "output_config", path)
    where = f"{path}.output_config" if path else "output_config"
    effort = checked.optional_text(config, "effort", where)
    return None if effort is None else (checked.one_of(effort, EFFORTS, f"{where}.effort"), f"{where}.effort")


def _only_text(part: Text | Document | Image, path: str) -> Text:
    if isinstance(part, Document) and isinstance(part.source, PlainText):
        return Text(framed_document(part, part.source.text), path, part.cache)
    if not isinstance(part, Text):
        problem = "an assistant turn can only hold documents that are text"
        raise unsupported(path, rejected(problem, "document_block"))
    return part


def _unanswered(turn: _Assistant, ids: list[str]) -> Exception:
    # Claude Code recognises this sentence.
    return refused(
        turn.path,
        f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}. Each `tool_use` "
        "block must have a corresponding `tool_result` block in the next message.",
    )


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "system"


def _last_user(messages: list[Any]) -> int:
    for n in range(len(messages) - 1, -1, -1):
        if isinstance(messages[n], dict) and messages[n].get("role") == "user":
            return n
    return -1
