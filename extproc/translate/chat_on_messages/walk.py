"""The walk over `messages`: reads each once, in order, and leaves turns whose roles alternate (mapping 4.2)."""

from collections.abc import Callable

from extproc.translate import want
from extproc.translate.chat_on_messages import parts, thought
from extproc.translate.chat_on_messages.calls import Pairing
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.chat_on_messages.turns import Turn, add
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
    return walk.end()


class _Walk:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._pairing = Pairing(draft)
        self._turns: list[Turn] = []
        self._conversing = False
        """Something else than instructions has been said."""
        self._results: list[Json] = []
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
        self._conversing = self._conversing or role not in ("system", "developer")
        self._roles[role](message, n)

    def end(self) -> list[Turn]:
        self._pairing.settle()
        self._flush()
        placed: list[Turn] = []
        for turn, may_stay in zip(self._turns, _legal(self._turns), strict=True):
            if turn.role != "system" or may_stay:
                add(placed, turn)
            else:
                self._hoist(turn.index, turn.blocks)
        return placed

    def _system(self, message: Json, n: int) -> None:
        blocks = parts.texts(self._draft, message, f"messages.{n}")
        if not blocks:
            return
        if not self._conversing:
            self._draft.system += [(n, block) for block in blocks]
        elif self._draft.profile.mid_system == "native" and not self._pairing.is_open:
            self._flush()
            self._turns.append(Turn("system", n, blocks))
        else:
            self._hoist(n, blocks)

    def _hoist(self, n: int, blocks: list[Json]) -> None:
        self._draft.warnings.add("reordered", f"messages.{n}", "instructions must come before the conversation")
        self._draft.system += [(n, block) for block in blocks]

    def _user(self, message: Json, n: int) -> None:
        self._pairing.settle()
        self._flush()
        self._add("user", n, parts.user(self._draft, message, f"messages.{n}"))

    def _assistant(self, message: Json, n: int) -> None:
        path = f"messages.{n}"
        self._pairing.settle()
        self._flush()
        if message.get("audio") is not None:
            self._draft.warnings.add("dropped", f"{path}.audio", "spoken answers are not in the request")
        said = parts.assistant(self._draft, message, path) + self._pairing.calls(message, n)
        self._add("assistant", n, thought.restored(message) + said if said else [])

    def _tool(self, message: Json, n: int) -> None:
        read = self._pairing.legacy_result if message["role"] == "function" else self._pairing.result
        self._results.append(read(message, f"messages.{n}"))

    def _flush(self) -> None:
        """The results so far open the user turn that follows."""
        if self._results:
            turn = Turn("user", -1, [])
            turn.results = self._pairing.in_order(self._results)
            self._results = []
            add(self._turns, turn)

    def _add(self, role: str, n: int, blocks: list[Json]) -> None:
        if blocks:
            add(self._turns, Turn(role, n, blocks))


def _legal(turns: list[Turn]) -> list[bool]:
    """For system turns: after a user turn, and last or before an assistant turn."""
    after_user = _next_to(turns, ("user",))
    before_assistant = _next_to(turns[::-1], ("assistant", ""))[::-1]
    return [after and before for after, before in zip(after_user, before_assistant, strict=True)]


def _next_to(turns: list[Turn], roles: tuple[str, ...]) -> list[bool]:
    """Whether the last turn before each that is no system turn has one of the roles; empty: there is none."""
    found, role = [], ""
    for turn in turns:
        found.append(role in roles)
        if turn.role != "system":
            role = turn.role
    return found
