"""Which of a model's several providers a call may be sent to, and in which order they are asked."""

from math import inf
from typing import Protocol

import msgspec

from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.authorization.cel import Rule
from extproc.policy.authorization.rules import AuthorizeModel, Rules
from extproc.policy.authorization.variables import Subject, compile_text
from extproc.policy.facts import Examined, Planned
from extproc.providers import pools
from extproc.providers.catalogue import Catalogue, Resolved

SESSION = "session"
_ALL_OUT = Rejection(
    kind=Kind.OVERLOADED,
    message="no provider of this model takes calls at the moment",
    reason=Reason.UPSTREAM_UNAVAILABLE,
    detail="drained",
    headers=(("retry-after", "5"),),
)


class Availability(Protocol):
    """Which providers are left out at the moment."""

    def until(self, provider: str) -> float:
        """Unix seconds until which it gets no calls; 0: it does; infinite: until somebody says otherwise."""


class PlanAttempts:
    """Chooses, draws, and leaves out whom the caller may not use and who is to be spared."""

    def __init__(
        self, source: Source, catalogue: Catalogue, rules: Rules, availability: Availability, faults: list[Fault]
    ) -> None:
        self._catalogue = catalogue
        self._rules = rules
        self._authorize = AuthorizeModel(rules)
        self._availability = availability
        self._sticky: dict[int, Rule] = {}
        """By the model's index: what calls must share to be drawn alike."""
        for index, model in enumerate(source.config.models):
            if model.sticky is not None:
                text = "llm.session" if model.sticky == SESSION else model.sticky
                made = compile_text(text, ("models", index, "sticky"))
                if isinstance(made, Fault):
                    faults.append(made)
                else:
                    self._sticky[index] = made

    def claims(self) -> frozenset[str] | None:
        """Returns the claims that an expression of `sticky` can read; None: any."""
        found = [rule.claims for rule in self._sticky.values()]
        known = [names for names in found if names is not None]
        return frozenset().union(*known) if len(known) == len(found) else None

    def __call__(self, examined: Examined, now: float) -> Planned | Rejection:
        """`now`: Unix seconds. The model has several providers."""
        model, pool = examined.resolved, examined.resolved.rule.pool
        assert pool is not None, "the model has several providers"
        subject = Subject(examined.call, model, examined.body)
        entries = pool.lists[self._rules.chosen(subject, model)]
        seed = self._shared(subject, model) or examined.call.request.request_id
        allowed: list[Resolved] = []
        refused: list[Resolved] = []
        refusal: Rejection | None = None
        for one in pools.order(entries, seed):
            found = self._catalogue.candidate(model.name, model.rule.index, one.number, examined.call.dialect)
            why = self._authorize(msgspec.structs.replace(examined, resolved=found))
            refusal = refusal or why
            (allowed if why is None else refused).append(found)
        if not allowed:
            assert refusal is not None, "a list of candidates is never empty"
            return refusal
        return self._spared(examined, allowed, refused, now) or _ALL_OUT

    def _shared(self, subject: Subject, model: Resolved) -> str:
        """Returns an empty string where each call is drawn for itself."""
        rule = self._sticky.get(model.rule.index)
        return rule.text_value(self._rules.seen(subject).activation(rule.reads)) if rule is not None else ""

    def _spared(
        self, examined: Examined, allowed: list[Resolved], refused: list[Resolved], now: float
    ) -> Planned | None:
        """If all are to be spared, the one whose time ends first is asked, best one that has a credential; None: all
        are drained."""
        until = {id(one): self._availability.until(one.provider.name) for one in allowed}
        ready = [one for one in allowed if until[id(one)] <= now and not one.provider.lacks_credential]
        waiting = [one for one in allowed if one not in ready]
        if not ready:
            coming = [one for one in waiting if until[id(one)] < inf]
            ready = sorted(coming, key=lambda one: (one.provider.lacks_credential, until[id(one)]))[:1]
            waiting = [one for one in waiting if one not in ready]
        pool = examined.resolved.rule.pool
        most = pool.failover.attempts if pool is not None else 1
        if not ready:
            return None
        return Planned(examined, tuple(ready[:most]), tuple(waiting), tuple(refused), self._mirror(examined, now))

    def _mirror(self, examined: Examined, now: float) -> Resolved | None:
        """Rules hold for it as for a candidate: a call of somebody who may not use it is not copied."""
        call, model = examined.call, examined.resolved
        pool = model.rule.pool
        if pool is None or pool.mirror is None or not pool.is_mirrored(call.request.request_id):
            return None
        found = self._catalogue.candidate(model.name, model.rule.index, pool.mirror.number, call.dialect)
        if self._availability.until(found.provider.name) > now:
            return None
        return found if self._authorize(msgspec.structs.replace(examined, resolved=found)) is None else None
