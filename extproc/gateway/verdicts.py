"""The verdicts on the calls of tools in one answer: what of it passes, what is held back, and who has decided."""

from collections.abc import Mapping

from extproc.events import Record, Verdict, VerdictOutcome
from extproc.gateway import record
from extproc.policy.authorization.variables import Subject
from extproc.policy.auto_mode import NOBODY, AutoMode
from extproc.wire.safeguards import PROVIDER, HeldAnswer, Question, ToolCall, provided_verdict


class Verdicts:
    """Those on one answer, for a client that has asked for them."""

    def __init__(self, policy: AutoMode, subject: Subject, question: Question) -> None:
        self.question = question
        self.open: tuple[ToolCall, ...] = ()
        """Calls that wait for the judge; until `settle` the answer's end is held back."""
        self.record: Record = {}
        """What is put on record about the strictest verdict; empty as long as nothing is decided."""
        self._policy = policy
        self._subject = subject
        self._answer = HeldAnswer()
        self._decided: list[Verdict | None] | None = None
        self._ended = False

    def feed(self, data: bytes, *, end: bool) -> bytes:
        """What may go to the client now. `end`: nothing follows."""
        self._ended = end
        passed = self._answer.feed(data)
        if self._answer.held and self._decided is None:
            return passed + self._decide()
        return passed + self._answer.rest() if end else passed

    def settle(self, judged: Mapping[str, Verdict]) -> bytes:
        """The answer's end. `judged`: by the calls' ids, what the judge says of those that are open."""
        self.open = ()
        found: dict[str, Verdict] = {}
        for call, decided in zip(self._answer.calls, self._decided or (), strict=True):
            verdict = decided or self._undecided(call, judged.get(call.id))
            # Two calls of one id have one verdict, the stricter.
            found[call.id] = max(verdict, found.get(call.id, verdict), key=lambda one: one.outcome)
        if found:
            strictest = max(found.values(), key=lambda one: one.outcome)
            outcome = strictest.outcome.name.lower()
            self.record = {record.AUTO_MODE_OUTCOME: outcome, record.AUTO_MODE_RULE: strictest.by}
        return self._answer.release(found) + (self._answer.rest() if self._ended else b"")

    def _undecided(self, call: ToolCall, judged: Verdict | None) -> Verdict:
        """Returns the verdict on a call that no rule has decided."""
        verdict = self._policy.judged_or_otherwise(judged)
        if verdict == NOBODY and call.id in self._answer.provided:
            return Verdict(VerdictOutcome.UNAVAILABLE, "", PROVIDER)  # it may say why, or ask for the call once more
        return verdict

    def give_up(self) -> bytes:
        """What is held, without verdicts: the answer has failed."""
        self.open = ()
        return self._answer.give_up()

    def _decide(self) -> bytes:
        calls = self._answer.calls
        by_rule = self._policy.by_rule(self._subject, self.question, calls)
        self._decided = [
            _stricter(verdict, provided_verdict(self._answer.provided.get(call.id)))
            for call, verdict in zip(calls, by_rule, strict=True)
        ]
        waiting = [call for call, decided in zip(calls, self._decided, strict=True) if decided is None]
        if self._policy.judged and waiting:
            self.open = tuple(waiting)
            return b""
        return self.settle({})


def _stricter(ours: Verdict | None, providers: Verdict | None) -> Verdict | None:
    """Where the provider has judged, ours counts only if it denies, or is stricter."""
    if ours is None or providers is None:
        return ours or providers
    return ours if ours.outcome > providers.outcome or ours.outcome is VerdictOutcome.DENY else providers
