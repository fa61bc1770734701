"""The walk over `messages`: reads each once, in order, and leaves turns whose roles alternate."""

from typing import Any, NamedTuple

from extproc.translate import want
from extproc.translate.for_messages import effort, system
from extproc.translate.for_messages.draft import Draft, Part
from extproc.translate.for_messages.turns import (
    SEAM,
    AssistantTurn,
    SystemTurn,
    Turn,
    UserTurn,
    add_user,
    assistant,
)
from extproc.translate.want import Json, refused

_ROLES = ("user", "assistant", "system")
_CLEAR = ("next_user_message", "never")
_MESSAGE = frozenset(("role", "content"))
_SYSTEM_MESSAGE = frozenset(("role", "content", "clear_at", "output_config"))
_CHANGES = ("tool_addition", "tool_removal")


class _Start(NamedTuple):
    """Where the conversation begins once a compaction has replaced what was before."""

    message: int = 0
    block: int = 0
    compaction: Json | None = None


def turns(draft: Draft) -> list[Turn]:
    """The conversation in force, as turns. Fills in hoisted texts, tool changes and effort of the draft."""
    messages = want.sequence(draft.body, "messages", "")
    return _Walk(draft, messages).run()


class _Walk:
    def __init__(self, draft: Draft, messages: list[Any]) -> None:
        self.draft = draft
        self.messages = messages
        self.turns: list[Turn] = []
        self.last_user = _last_user(messages)
        self.last_turn = _turn_of(messages, self.last_user)

    def run(self) -> list[Turn]:
        """What stands before all turns is hoisted, and outlives a compaction."""
        leading = next((n for n, message in enumerate(self.messages) if not _is_system(message)), len(self.messages))
        for n in range(leading):
            self._message(n, 0)
        start = _compaction(self.draft, self.messages)
        if start.compaction is not None and not self.draft.resumes(start.compaction):
            summary = UserTurn()
            summary.say(f"[Summary of the earlier conversation]\n{start.compaction['content']}")
            self.turns.append(summary)
        for n in range(max(start.message, leading), len(self.messages)):
            self._message(n, start.block if n == start.message else 0)
        self._drop_empty_assistant()
        if not self.turns:
            raise refused("messages", "at least one message is required")
        return self.turns

    def _message(self, n: int, first: int) -> None:
        path = f"messages.{n}"
        message = want.item(self.messages[n], path)
        role = want.one_of(want.text(message, "role", path), _ROLES, f"{path}.role")
        self.draft.in_last_turn = n in self.last_turn
        if role == "system":
            self._system(message, n, path)
            return
        content = message.get("content")
        if not isinstance(content, str | list):
            want.sequence(message, "content", path)
        self.draft.warnings.unknown(message, _MESSAGE, path)
        if role == "user":
            self._user(content, path, first)
        else:
            self._assistant(content, path, first)

    def _user(self, content: Any, path: str, first: int) -> None:
        self._drop_empty_assistant()
        last = self.turns[-1] if self.turns else None
        turn = last if isinstance(last, UserTurn) else UserTurn()
        add_user(self.draft, turn, content, path, first)
        if turn is not last and not turn.is_empty():
            self._place(turn, path)

    def _place(self, turn: UserTurn, path: str) -> None:
        """Nothing may stand between calls and their results, not even instructions."""
        before = self.turns[-2] if turn.results and len(self.turns) > 1 else None
        if isinstance(before, AssistantTurn) and before.calls and isinstance(self.turns[-1], SystemTurn):
            self.draft.warnings.add("reordered", path, "tool results must follow the calls directly")
            self.turns.insert(-1, turn)
        else:
            self.turns.append(turn)

    def _assistant(self, content: Any, path: str, first: int) -> None:
        turn = assistant(self.draft, content, path, first)
        last = self.turns[-1] if self.turns else None
        if isinstance(last, AssistantTurn):
            last.merge(turn)
        else:
            self.turns.append(turn)

    def _drop_empty_assistant(self) -> None:
        """Only thinking, or nothing at all: upstreams refuse such a turn, so its neighbours meet."""
        last = self.turns[-1] if self.turns else None
        if isinstance(last, AssistantTurn) and last.is_empty():
            self.turns.pop()

    def _system(self, message: Json, n: int, path: str) -> None:
        self.draft.warnings.unknown(message, _SYSTEM_MESSAGE, path)
        self.draft.effort = effort.read_effort(message, path) or self.draft.effort
        clear_at = want.optional_text(message, "clear_at", path)
        if clear_at is not None:
            want.one_of(clear_at, _CLEAR, f"{path}.clear_at")
        parts = _system_parts(self.draft, message, path)
        if clear_at == "next_user_message" and n < self.last_user:
            parts = []
        if not parts:
            return
        self._drop_empty_assistant()
        if not self.turns or self.draft.profile.mid_system == "hoist":
            self.draft.hoisted.append(_joined(parts))
        elif self.draft.profile.mid_system == "user":
            self._user(f"<system-reminder>\n{_joined(parts)}\n</system-reminder>", path, 0)
        else:
            self._native(parts)

    def _native(self, parts: list[Part]) -> None:
        last = self.turns[-1]
        if isinstance(last, SystemTurn):
            last.parts += parts
        else:
            self.turns.append(SystemTurn(parts))


def _joined(parts: list[Part]) -> str:
    return SEAM.join(part["text"] for part in parts)


def _system_parts(draft: Draft, message: Json, path: str) -> list[Part]:
    content = message.get("content")
    if content is None and message.get("output_config"):
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts = []
    for n, found in enumerate(want.sequence(message, "content", path)):
        where = f"{path}.content.{n}"
        block = want.item(found, where)
        if block.get("type") in _CHANGES:
            draft.tool_changes.append((block, where))
        elif part := system.text_part(draft, block, where):
            parts.append(part)
    return parts


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "system"


def _last_user(messages: list[Any]) -> int:
    for n in range(len(messages) - 1, -1, -1):
        if isinstance(messages[n], dict) and messages[n].get("role") == "user":
            return n
    return -1


def _turn_of(messages: list[Any], last: int) -> range:
    """The user messages up to `last` that no answer stands between."""
    first = last
    while first > 0 and not (isinstance(messages[first - 1], dict) and messages[first - 1].get("role") == "assistant"):
        first -= 1
    return range(first, last + 1)


def _compaction(draft: Draft, messages: list[Any]) -> _Start:
    """The last compaction that says something; all before it is replaced by its text."""
    for n in range(len(messages) - 1, -1, -1):
        content = messages[n].get("content") if isinstance(messages[n], dict) else None
        if not isinstance(content, list):
            continue
        for k in range(len(content) - 1, -1, -1):
            block = content[k]
            if isinstance(block, dict) and block.get("type") == "compaction" and block.get("content") is not None:
                path = f"messages.{n}.content.{k}"
                changes = want.optional_sequence(block, "tool_changes", path)
                draft.tool_changes += [
                    (want.item(change, f"{path}.tool_changes.{i}"), f"{path}.tool_changes.{i}")
                    for i, change in enumerate(changes)
                ]
                want.text(block, "content", path)
                return _Start(n, k + 1, block)
    return _Start()
