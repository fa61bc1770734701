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
    SystemTurn,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    UserPart,
    UserTurn,
)
from extproc.translate.dialects.messages.read_content import ContentReader, only_text, read_thinking
from extproc.translate.openai_content import SUMMARY
from extproc.translate.provider_error import rejected
from extproc.translate.signature import unseal
from extproc.wire.messages_request import SystemMessage, ToolUse, TurnMessage

_MESSAGE = checked.members(TurnMessage)
_TOOL_USE = checked.members(ToolUse)
EFFORTS = ("low", "medium", "high", "xhigh", "max")
_BILLING = "x-anthropic-billing-header:"
_ROLES = ("user", "assistant", "system")
_CLEAR = ("next_user_message", "never")
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


_SUBSTANCE = (Text, Compaction)
"""What makes a turn one that providers take, besides calls."""


class _User:
    def __init__(self, path: str) -> None:
        self.path = path
        self.results: list[ToolResult] = []
        self.parts: list[UserPart] = []


class _Assistant:
    """Neighbouring messages of the assistant."""

    def __init__(self) -> None:
        self.messages: list[AssistantTurn] = []
        self.calls: list[ToolCall] = []

    @property
    def path(self) -> str:
        return self.messages[-1].path

    def add(self, message: AssistantTurn) -> None:
        self.messages.append(message)
        self.calls += message.calls

    def is_empty(self) -> bool:
        """Only reasoning, or nothing at all: providers refuse such a turn."""
        if self.calls:
            return False
        parts = (part for message in self.messages for part in message.parts)
        return not any(isinstance(part, _SUBSTANCE) for part in parts)


class _System:
    def __init__(self, path: str, parts: list[Text]) -> None:
        self.path = path
        self.parts = parts
        self.is_late = False
        """The client put it between calls and their results."""


_Building = _User | _Assistant | _System


class TurnReader:
    def __init__(self, messages: list[Any], rules: Rules, warnings: Warnings) -> None:
        self.leading: list[Text] = []
        """Instructions before the first turn."""
        self.effort: tuple[str, str] | None = None
        """The last effort that a message asks for, and its path."""
        self.tool_changes: list[tuple[Json, str]] = []
        self.toolset_names: dict[str, tuple[str, str]] = {}
        """Full name of a tool that was called -> (toolset, name)."""
        self._messages = messages
        self._rules = rules
        self._warnings = warnings
        self._content = ContentReader(warnings)
        self._turns: list[_Building] = []

    def turns(self) -> tuple[Turn, ...]:
        """Roles alternate, but for neighbouring messages of the assistant. Raises Refused."""
        leading = 0
        while leading < len(self._messages) and _is_system(self._messages[leading]):
            self._message(leading, 0)
            leading += 1
        start = self._compaction()
        if start.part is not None:
            self._resume(start.part)
        for n in range(max(start.message, leading), len(self._messages)):
            self._message(n, start.block if n == start.message else 0)
        self._drop_empty_assistant()
        if not self._turns:
            raise refused("messages", "at least one message is required")
        return tuple(self._built())

    def system_text(self, block: Json, path: str) -> Text | None:
        """A text block of a system prompt or message; None when nothing of it travels."""
        checked.one_of(checked.text(block, "type", path), ("text",), f"{path}.type")
        text = self._content.text(block, path)
        if text is None or (self._rules.strips_billing and text.text.startswith(_BILLING)):
            return None
        return text

    def _message(self, n: int, first: int) -> None:
        """`first`: the first block to be read."""
        path = f"messages.{n}"
        found = self._messages[n]
        message = checked.typed(found, TurnMessage, path)
        if message.role == "system":
            self._system(found, n, path)
            return
        if message.role not in _ROLES:
            checked.one_of(message.role, _ROLES, f"{path}.role")
        content = message.content
        if content is None:
            raise checked.missing(f"{path}.content")
        self._warnings.unknown(found, _MESSAGE, path)
        if message.role == "user":
            self._user(content, path, first)
        else:
            self._assistant(content, path, first)

    # The user

    def _user(self, content: str | list[Json], path: str, first: int) -> None:
        self._drop_empty_assistant()
        last = self._turns[-1] if self._turns else None
        turn = last if isinstance(last, _User) else _User(path)
        if isinstance(content, str):
            turn.parts += [Text(content, f"{path}.content")] if content else []
        else:
            for kind, block, where in _blocks(content, path, first):
                self._user_block(turn, kind, block, where, path)
        if turn is not last and (turn.parts or turn.results):
            self._place(turn, path)

    def _place(self, turn: _User, path: str) -> None:
        """Nothing may stand between calls and their results, not even instructions."""
        before, between = self._turns[-2:] if turn.results and len(self._turns) > 1 else (None, None)
        if not (isinstance(before, _Assistant) and before.calls and isinstance(between, _System)):
            self._turns.append(turn)
            return
        if self._rules.keeps_places:
            self._warnings.add("reordered", path, "tool results must follow the calls directly")
        between.is_late = True
        self._turns.insert(-1, turn)

    def _user_block(self, turn: _User, kind: str, block: Json, where: str, path: str) -> None:
        """`path`: of the message."""
        if kind == "text":
            if block.get("citations") and self._rules.refuses_old:
                raise refused(f"{where}.citations", "Extra inputs are not permitted")
            if text := self._content.text(block, where):
                turn.parts.append(text)
        elif kind == "tool_result":
            if turn.parts:
                # Anthropic refuses it, and Chat has no place for text between calls and results.
                self._warnings.add("reordered", f"{path}.content", "tool_result blocks must come first")
            turn.results.append(self._content.result(block, where))
        elif kind == "image":
            turn.parts.append(self._content.image(block, where))
        elif kind in _ASSISTANT_ONLY:
            raise refused(where, f"`{kind}` blocks may only be in `assistant` messages")
        else:
            turn.parts += self._content.shared(block, kind, where)

    # The assistant

    def _assistant(self, content: str | list[Json], path: str, first: int) -> None:
        parts: list[AssistantPart] = []
        if isinstance(content, str):
            parts = [Text(content, f"{path}.content")] if content else []
        else:
            for kind, block, where in _blocks(content, path, first):
                parts += self._assistant_block(kind, block, where)
        last = self._turns[-1] if self._turns else None
        if not isinstance(last, _Assistant):
            last = _Assistant()
            self._turns.append(last)
        last.add(AssistantTurn(tuple(parts), path))

    def _assistant_block(self, kind: str, block: Json, path: str) -> Sequence[AssistantPart]:
        match kind:
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
            case _:
                if kind == "document" and self._rules.refuses_old:
                    raise refused(path, "document blocks may only be in `user` messages")
                return [only_text(part, path) for part in self._content.shared(block, kind, path)]

    def _call(self, block: Json, path: str) -> ToolCall:
        found = checked.typed(block, ToolUse, path)
        name = found.name
        if not name:
            raise refused(f"{path}.name", "String should have at least 1 character")
        self._warnings.unknown(block, _TOOL_USE, path)
        if found.toolset_name is not None:
            full = f"{found.toolset_name}__{name}"
            self.toolset_names.setdefault(full, (found.toolset_name, name))
            name = full
        return ToolCall(found.id, name, msgspec.json.encode(found.input).decode(), f"{path}.input")

    def _drop_empty_assistant(self) -> None:
        """Then its neighbours meet."""
        last = self._turns[-1] if self._turns else None
        if isinstance(last, _Assistant) and last.is_empty():
            self._turns.pop()

    # Instructions

    def _system(self, found: Json, n: int, path: str) -> None:
        message = checked.typed(found, SystemMessage, path)
        self._warnings.unknown(found, checked.members(SystemMessage), path)
        if message.output_config is not None and message.output_config.effort is not None:
            where = f"{path}.output_config.effort"
            self.effort = checked.one_of(message.output_config.effort, EFFORTS, where), where
        if message.clear_at is not None:
            checked.one_of(message.clear_at, _CLEAR, f"{path}.clear_at")
        if message.content is None and not found.get("output_config"):
            raise checked.missing(f"{path}.content")
        parts = self._system_parts(message, path)
        if not parts or (message.clear_at == "next_user_message" and n < _last_user(self._messages)):
            return
        self._drop_empty_assistant()
        last = self._turns[-1] if self._turns else None
        if last is None:
            # Anthropic refuses such a message at the beginning; elsewhere it is the system prompt.
            self.leading += parts
        elif isinstance(last, _System):
            last.parts += parts
        else:
            self._turns.append(_System(path, parts))

    def _system_parts(self, message: SystemMessage, path: str) -> list[Text]:
        if isinstance(message.content, str):
            return [Text(message.content, f"{path}.content")] if message.content else []
        parts = []
        for n, block in enumerate(message.content or ()):
            where = f"{path}.content.{n}"
            if block.get("type") in _TOOL_CHANGES:
                self.tool_changes.append((block, where))
            elif part := self.system_text(block, where):
                parts.append(part)
        return parts

    # What has been compacted

    def _compaction(self) -> "_Start":
        """The last compaction that has a text; it stands for all that was before."""
        for n in range(len(self._messages) - 1, -1, -1):
            blocks = self._messages[n].get("content") if isinstance(self._messages[n], dict) else None
            if not isinstance(blocks, list):
                continue
            for k in range(len(blocks) - 1, -1, -1):
                block = blocks[k]
                # Null is a compaction that failed, so that the turns before it still count.
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
            turn.add(AssistantTurn((compaction,), compaction.path))
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
        if not calls and not turn.results:
            return ()
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


def _blocks(content: list[Json], path: str, first: int) -> Iterator[tuple[str, Json, str]]:
    """Each block's type, the block, and its path. Raises Refused for one without a type."""
    for n in range(first, len(content)):
        where = f"{path}.content.{n}"
        yield checked.text(content[n], "type", where), content[n], where


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
