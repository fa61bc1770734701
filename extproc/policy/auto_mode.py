"""Verdicts on the calls of tools in an answer, by the rules of `auto_mode` in `gateway.yaml`.

Claude Code asks for them in auto mode (wire/safeguards.py). The first rule that holds decides; calls that no rule
decides are for the judge, if there is one. What nobody has judged is never allowed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from extproc.config import schema_auto_mode
from extproc.config.faults import Fault
from extproc.events import Verdict, VerdictOutcome
from extproc.policy.authorization.cel import Language, Part, Rule, Variable
from extproc.policy.authorization.variables import VARIABLES, Subject, values
from extproc.providers.catalogue import Catalogue
from extproc.wire.safeguards import Question, ToolCall

OTHERWISE = "otherwise"
NOBODY = Verdict(VerdictOutcome.UNAVAILABLE, "error", OTHERWISE)
"""The verdict on a call that nobody has judged."""
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

    def __init__(self, settings: schema_auto_mode.AutoMode, faults: list[Fault]) -> None:
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

    def by_rule(self, subject: Subject, question: Question, calls: Sequence[ToolCall]) -> list[Verdict | None]:
        """For each call what a rule says of it; None: no rule decides it."""
        if not self._rules:
            return [None] * len(calls)
        known = values(Part.CALLER, subject) | values(Part.MODEL, subject)
        return [self._decide({**known, "cwd": question.cwd}, call) for call in calls]

    def _decide(self, known: dict[str, object], call: ToolCall) -> Verdict | None:
        if call.input is None:
            return Verdict(VerdictOutcome.UNAVAILABLE, "input_unparsed")
        seen = _LANGUAGE.activation({**known, "tool.name": call.name, "tool.input": call.input})
        for rule, verdict in self._rules:
            holds = rule.evaluate(seen)
            if holds:
                return verdict
            if holds is None and verdict.outcome is VerdictOutcome.DENY:
                # Nobody can tell whether this rule denies the call, so no later one may allow it.
                return Verdict(VerdictOutcome.UNAVAILABLE, "error", verdict.by)
        return None

    def judged_or_otherwise(self, judged: Verdict | None) -> Verdict:
        """What the judge says of a call, or what is said of a call that nobody has decided."""
        if judged is not None and judged.outcome is not VerdictOutcome.UNAVAILABLE:
            return judged
        if self._otherwise == "deny":
            return Verdict(VerdictOutcome.DENY, "nothing in the company's policy for this gateway allows it", OTHERWISE)
        return judged or NOBODY


def _verdict_of(rule: schema_auto_mode.Rule, place: str) -> Verdict:
    if rule.outcome == "allow":
        return Verdict(VerdictOutcome.ALLOW, "", place)
    return Verdict(VerdictOutcome.DENY, rule.explanation or NOT_ALLOWED, place)


def check_judge(settings: schema_auto_mode.Judge, catalogue: Catalogue, faults: list[Fault]) -> None:
    """Adds a fault where nobody answers to the judge's name."""
    if catalogue.resolve(settings.model) is None:
        faults.append(Fault(("auto_mode", "judge", "model"), f"no model of `models` answers to {settings.model!r}"))
