"""Verdicts on the calls of tools in an answer, by the rules of `auto_mode` in `gateway.yaml`.

Claude Code asks for them in auto mode (wire/safeguards.py). The first rule that holds decides; calls that no rule
decides are for the judge, if there is one. What nobody has judged is never allowed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from extproc import record, schema_auto_mode
from extproc.config import Fault, Source
from extproc.events import Record
from extproc.facts import Facts
from extproc.policy.cel import Language, Rule
from extproc.policy.variables import VARIABLES, Part, Variable, values
from extproc.providers import Catalogue
from extproc.wire.safeguards import PROVIDER, HeldAnswer, Outcome, Question, ToolCall, Verdict

OTHERWISE = "otherwise"
NOT_ALLOWED = "the company's policy for this gateway does not allow it"
_OF_CALLS = (
    Variable("tool.name", "string", Part.ANSWER, "the tool that the model wants to run, `Bash`"),
    Variable("tool.input", "map<string, dyn>", Part.ANSWER, "its arguments, `tool.input.command`"),
    Variable("cwd", "string", Part.ANSWER, 'the folder that the client works in, as it says; `""` where it does not'),
)
RULE_VARIABLES = (*(one for one in VARIABLES if one.part in (Part.CALLER, Part.MODEL)), *_OF_CALLS)
_LANGUAGE = Language(RULE_VARIABLES)


class _Compiled(NamedTuple):
    rule: Rule
    verdict: Verdict


class AutoMode:
    """The section `auto_mode`, compiled. Adds to `faults` what is wrong with it."""

    def __init__(self, source: Source, settings: schema_auto_mode.AutoMode, faults: list[Fault]) -> None:
        self._rules: list[_Compiled] = []
        for index, rule in enumerate(settings.rules):
            where = ("auto_mode", "rules", index, "when")
            compiled = _LANGUAGE.compile(rule.when, where)
            if isinstance(compiled, Fault):
                faults.append(compiled)
                continue
            place = ".".join(map(str, where[:3]))
            self._rules.append(_Compiled(compiled, _verdict_of(rule, place)))
        self.judged = settings.judge is not None
        """Calls that no rule decides are for a judge."""
        self._otherwise = settings.otherwise

    def claims(self) -> frozenset[str] | None:
        """The claims that some rule can read; None: any."""
        found = [one.rule.claims for one in self._rules]
        known = [names for names in found if names is not None]
        return frozenset().union(*known) if len(known) == len(found) else None

    def by_rule(self, facts: Facts, question: Question, calls: Sequence[ToolCall]) -> list[Verdict | None]:
        """For each call what a rule says of it; None: no rule decides it."""
        if not self._rules:
            return [None] * len(calls)
        known = values(Part.CALLER, facts, None) | values(Part.MODEL, facts, facts.resolved)
        return [self._decide({**known, "cwd": question.cwd}, call) for call in calls]

    def _decide(self, known: dict[str, object], call: ToolCall) -> Verdict | None:
        if call.input is None:
            return Verdict(Outcome.UNAVAILABLE, "input_unparsed")
        seen = _LANGUAGE.activation({**known, "tool.name": call.name, "tool.input": call.input})
        for rule, verdict in self._rules:
            holds = rule.evaluate(seen)
            if holds:
                return verdict
            if holds is None and verdict.outcome is Outcome.DENY:
                # Nobody can tell whether this rule denies the call, so no later one may allow it.
                return Verdict(Outcome.UNAVAILABLE, "error", verdict.by)
        return None

    def judged_or_otherwise(self, judged: Verdict | None) -> Verdict:
        """What the judge says of a call, or what is said of a call that nobody has decided."""
        if judged is not None and judged.outcome is not Outcome.UNAVAILABLE:
            return judged
        if self._otherwise == "deny":
            return Verdict(Outcome.DENY, "nothing in the company's policy for this gateway allows it", OTHERWISE)
        return judged or Verdict(Outcome.UNAVAILABLE, "error", OTHERWISE)


def _verdict_of(rule: schema_auto_mode.Rule, place: str) -> Verdict:
    if rule.outcome == "allow":
        return Verdict(Outcome.ALLOW, "", place)
    return Verdict(Outcome.DENY, rule.explanation or NOT_ALLOWED, place)


def check_judge(settings: schema_auto_mode.Judge, catalogue: Catalogue, faults: list[Fault]) -> None:
    """Adds a fault where nobody answers to the judge's name."""
    if catalogue.resolve(settings.model) is None:
        faults.append(Fault(("auto_mode", "judge", "model"), f"no model of `models` answers to {settings.model!r}"))


class Verdicts:
    """The verdicts on one answer: what of it passes, what is held back, and who has decided."""

    def __init__(self, policy: AutoMode, facts: Facts, question: Question) -> None:
        self.question = question
        self.open: tuple[ToolCall, ...] = ()
        """Calls that wait for the judge; until `settle` the answer's end is held back."""
        self.record: Record = {}
        """Of the strictest verdict; empty as long as nothing is decided."""
        self._policy = policy
        self._facts = facts
        self._answer = HeldAnswer()
        self._decided: list[Verdict | None] = []

    def feed(self, data: bytes, *, end: bool) -> bytes:
        """What may go to the client now. `end`: nothing follows."""
        passed = self._answer.feed(data)
        if self._answer.held and not self._decided:
            passed += self._decide()
        return passed + self._answer.rest() if end else passed

    def settle(self, judged: Mapping[str, Verdict]) -> bytes:
        """The answer's end. `judged`: by the calls' ids, what the judge says of those that are open."""
        self.open = ()
        found: dict[str, Verdict] = {}
        for call, decided in zip(self._answer.calls, self._decided, strict=True):
            verdict = decided or self._policy.judged_or_otherwise(judged.get(call.id))
            # Two calls of one id have one verdict, the stricter.
            found[call.id] = max(verdict, found.get(call.id, verdict), key=lambda one: one.outcome)
        strictest = max(found.values(), key=lambda one: one.outcome)
        self.record = {record.AUTO_MODE_OUTCOME: strictest.outcome.name.lower(), record.AUTO_MODE_RULE: strictest.by}
        return self._answer.release(found)

    def give_up(self) -> bytes:
        """What is held, without verdicts: the answer has failed."""
        self.open = ()
        return self._answer.give_up()

    def _decide(self) -> bytes:
        calls = self._answer.calls
        by_rule = self._policy.by_rule(self._facts, self.question, calls)
        self._decided = [
            _stricter(verdict, _of_provider(self._answer.provided.get(call.id)))
            for call, verdict in zip(calls, by_rule, strict=True)
        ]
        waiting = [call for call, decided in zip(calls, self._decided, strict=True) if decided is None]
        if self._policy.judged and waiting:
            self.open = tuple(waiting)
            return b""
        return self.settle({})


def _of_provider(found: Mapping[str, object] | None) -> Verdict | None:
    if found is None:
        return None
    outcome = Outcome.ALLOW if found.get("outcome") == "not_flagged" else Outcome.DENY
    return Verdict(outcome, "", PROVIDER)


def _stricter(ours: Verdict | None, providers: Verdict | None) -> Verdict | None:
    """Where the provider has judged, ours counts only if it is stricter."""
    if ours is None or providers is None:
        return ours or providers
    return ours if ours.outcome > providers.outcome else providers
