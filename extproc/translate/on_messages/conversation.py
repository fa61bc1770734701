"""A conversation as turns whose roles alternate, from what is said in order (mapping 4.2)."""

from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.pairing import Pairing
from extproc.translate.on_messages.turns import Turn, add
from extproc.translate.pair import Json


class Conversation:
    """Instructions go to the draft unless they may stay where they are."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.pairing = Pairing(draft)
        self._turns: list[Turn] = []
        self._results: list[Json] = []
        self._begun = False
        """Something else than instructions has been said."""

    def instructions(self, blocks: list[Json], path: str) -> None:
        if not blocks:
            return
        if not self._begun:
            self._draft.system += [(path, block) for block in blocks]
        elif self._draft.profile.mid_system == "native" and not self.pairing.is_open:
            self._flush()
            self._turns.append(Turn("system", path, blocks))
        else:
            self._hoist(blocks, path)

    def user(self, blocks: list[Json], path: str) -> None:
        self.settle()
        self._add("user", blocks, path)

    def assistant(self, blocks: list[Json], path: str) -> None:
        """What is said while a call waits for its result belongs to the turn of the call."""
        if not self.pairing.is_open:
            self._flush()
        self._add("assistant", blocks, path)

    def result(self, block: Json) -> None:
        self._begun = True
        self._results.append(block)

    def settle(self) -> None:
        """The conversation goes on. Raises Refused for calls without a result."""
        self._begun = True
        self._results += self.pairing.settle()
        self._flush()

    def end(self) -> list[Turn]:
        self.settle()
        placed: list[Turn] = []
        for turn, may_stay in zip(self._turns, _legal(self._turns), strict=True):
            turn.drop_last_thoughts()
            if turn.role == "system" and not may_stay:
                self._hoist(turn.blocks, turn.path)
            elif turn.blocks or turn.results:
                add(placed, turn)
        return placed

    def _hoist(self, blocks: list[Json], path: str) -> None:
        self._draft.warnings.add("reordered", path, "instructions must come before the conversation")
        self._draft.system += [(path, block) for block in blocks]

    def _flush(self) -> None:
        """The results so far open the user turn that follows."""
        if self._results:
            turn = Turn("user", "", [])
            turn.results = self.pairing.in_order(self._results)
            self._results = []
            add(self._turns, turn)

    def _add(self, role: str, blocks: list[Json], path: str) -> None:
        self._begun = True
        if blocks:
            add(self._turns, Turn(role, path, blocks))


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
