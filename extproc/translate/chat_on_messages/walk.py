"""The walk over `messages`: reads each once, in order, and leaves turns whose roles alternate (mapping 4.2)."""

from collections.abc import Callable

from extproc.translate import want
from extproc.translate.chat_on_messages import parts, thought
from extproc.translate.chat_on_messages.calls import Calls
from extproc.translate.on_messages.conversation import Conversation
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json

_NAMED = ("role", "content", "name")
_KNOWN: dict[str, frozenset[str]] = {
    "system": frozenset(_NAMED),
    "developer": frozenset(_NAMED),
    "user": frozenset(_NAMED),
    "tool": frozenset((*_NAMED, "tool_call_id")),
    "function": frozenset(_NAMED),
    # `annotations` and `parsed` come with an answer that is sent back as it was received.
    "assistant": frozenset((
        *_NAMED, "annotations", "audio", "function_call", "parsed", "reasoning", "reasoning_content",
        "reasoning_details", "refusal", "thinking_blocks", "tool_calls",
    )),
}  # fmt: skip


def turns(draft: Draft) -> list[Turn]:
    """The conversation; instructions go to the draft unless they may stay where they are."""
    walk = _Walk(draft)
    for n, message in enumerate(want.sequence(draft.body, "messages", "")):
        walk.read(want.item(message, f"messages.{n}"), n)
    return walk.conversation.end()


class _Walk:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.conversation = Conversation(draft)
        self._calls = Calls(draft, self.conversation.pairing)
        self._roles: dict[str, Callable[[Json, int], None]] = {
            "system": self._system,
            "developer": self._system,
            "user": self._user,
            "assistant": self._assistant,
            "tool": self._tool,
            "function": self._tool,
        }

    def read(self, message: Json, n: int) -> None:
        path = f"messages.{n}"
        role = want.one_of(want.text(message, "role", path), tuple(self._roles), f"{path}.role")
        self._draft.warnings.unknown(message, _KNOWN[role], path)
        self._roles[role](message, n)

    def _system(self, message: Json, n: int) -> None:
        path = f"messages.{n}"
        self.conversation.instructions(parts.texts(self._draft, message, path), path)

    def _user(self, message: Json, n: int) -> None:
        path = f"messages.{n}"
        self.conversation.user(parts.user(self._draft, message, path), path)

    def _assistant(self, message: Json, n: int) -> None:
        path = f"messages.{n}"
        self.conversation.settle()
        if message.get("audio") is not None:
            self._draft.warnings.add("dropped", f"{path}.audio", "spoken answers are not in the request")
        said = parts.assistant(self._draft, message, path) + self._calls.of(message, n)
        self.conversation.assistant(thought.restored(message) + said if said else [], path)

    def _tool(self, message: Json, n: int) -> None:
        read = self._calls.legacy_result if message["role"] == "function" else self._calls.result
        self.conversation.result(read(message, f"messages.{n}"))
