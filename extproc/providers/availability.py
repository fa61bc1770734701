"""Providers that are left out for a while, where a model has others: after failures in a row, for as long as a 429
asks for, or by hand.

Workers sum up the outcomes of their attempts (`Availability`). The supervisor counts those of all workers
(`CoolDowns`) and sends each worker what follows (`AvailabilityUpdate`). Nothing here reads a clock or a pipe."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from extproc.config.schema_providers import Outliers

MAX_RETRY_AFTER_SECONDS = 3600.0
"""The longest `retry-after` that is obeyed."""
MAX_PAUSES = 10
"""A provider that goes on failing is left out for at most so many times its `pause`, as by Envoy's `max_ejection_time`:
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier"""

Kind = Literal["answered", "failed", "limited"]
Cause = Literal["failures", "retry_after", "drained"]


class AttemptOutcome(msgspec.Struct, frozen=True):
    """How one attempt ended.

    `failed`: no connection, a reset, a timeout, a 5xx or a false success. `limited`: 429 or 529. `answered`: anything
    else, also an error that the request itself has caused."""

    provider: str
    """Its key in `providers`."""
    kind: Kind
    retry_after: float | None = None
    """Seconds; only with `limited`, if the answer names a time."""


class OutcomeSummary(msgspec.Struct):
    """The outcomes of a worker's attempts at one provider since its last report."""

    provider: str
    failures: int = 0
    """In a row, up to now."""
    answered: bool = False
    """There was an answer before them, or instead of them."""
    retry_after: float = 0.0
    """The longest that was asked for, in seconds."""


class AvailabilityUpdate(msgspec.Struct, tag=True):
    """All that workers need to know, sent by the supervisor whenever it changes."""

    until: dict[str, float]
    """The Unix second until which a provider is left out; infinite where it was drained. Others are available."""
    suspects: list[str]
    """Providers that failed last, so that an answer of theirs matters."""


class Availability:
    """What one worker knows of all providers, whichever configuration a call began with."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        """`wake`: called when there is a first report to send."""
        self._wake = wake
        self._until: dict[str, float] = {}
        self._suspects: frozenset[str] = frozenset()
        self._outbox: dict[str, OutcomeSummary] = {}

    def until(self, provider: str) -> float:
        """Returns the Unix second until which the provider is left out: 0.0 if it is not, infinity if it is drained.
        A time that has passed means that it is available."""
        return self._until.get(provider, 0.0)

    def report(self, outcome: AttemptOutcome) -> None:
        """Takes note of the end of an attempt."""
        name, seconds = outcome.provider, outcome.retry_after or 0.0
        if outcome.kind == "answered" and name not in self._suspects and name not in self._outbox:
            return
        if outcome.kind == "limited" and not seconds > 0:
            return
        if not self._outbox:
            self._wake()
        summary = self._outbox.setdefault(name, OutcomeSummary(name))
        match outcome.kind:
            case "answered":
                summary.failures, summary.answered = 0, True
            case "failed":
                summary.failures += 1
            case "limited":
                summary.retry_after = max(summary.retry_after, min(seconds, MAX_RETRY_AFTER_SECONDS))

    def next_report(self) -> OutcomeSummary | None:
        """Removes and returns the oldest report that has not been sent; None if there is none."""
        return self._outbox.pop(next(iter(self._outbox))) if self._outbox else None

    def replace(self, update: AvailabilityUpdate) -> None:
        self._until, self._suspects = update.until, frozenset(update.suspects)


class ProviderState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What people are shown."""

    state: Literal["available", "cooling down", "drained"]
    until: float | None = None
    """Unix seconds, while it is cooling down."""
    reason: Cause | None = None


def _no_counts() -> dict[Cause, int]:
    return {"failures": 0, "retry_after": 0, "drained": 0}


@dataclass
class _Provider:
    settings: Outliers
    failures: int = 0
    """In a row."""
    pauses: int = 0
    """In a row, without an answer after any of them."""
    until: float = 0.0
    reason: Cause = "failures"
    drained: bool = False
    times_left_out: dict[Cause, int] = field(default_factory=_no_counts)

    def count(self, summary: OutcomeSummary, now: float) -> None:
        if summary.answered:
            self.forget()
        self.failures += summary.failures
        if self.failures >= (1 if self.pauses else self.settings.failures):
            pause = self.settings.pause * min(2 ** min(self.pauses, MAX_PAUSES), MAX_PAUSES)
            self.leave_out("failures", now + pause, now)
            self.failures = 0
            self.pauses += 1

    def leave_out(self, reason: Cause, until: float, now: float) -> None:
        if not self.until > now:
            self.times_left_out[reason] += 1
        if until > self.until:
            self.until, self.reason = until, reason

    def forget(self) -> None:
        self.failures, self.pauses, self.until = 0, 0, 0.0

    def state(self, now: float) -> ProviderState:
        if self.drained:
            return ProviderState("drained")
        return (
            ProviderState("cooling down", self.until, self.reason) if self.until > now else ProviderState("available")
        )


class CoolDowns:
    """The rule, for all workers of a supervisor. `outliers.failures` failures in a row leave a provider out for
    `outliers.pause` seconds. If the first outcome after that is a failure, it is left out again, for twice as long each
    time, up to MAX_PAUSES pauses; an answer forgets all of it. Outcomes during a pause do not count: these attempts
    began before it, or had no other provider."""

    def __init__(self) -> None:
        self._providers: dict[str, _Provider] = {}

    def use(self, settings: Mapping[str, Outliers]) -> None:
        """Takes the providers of a configuration, and forgets all others."""
        known = self._providers
        providers = {name: known.get(name) or _Provider(outliers) for name, outliers in settings.items()}
        for name, outliers in settings.items():
            providers[name].settings = outliers
        # Threads that answer scrapes may be reading the former one.
        self._providers = providers

    def report(self, summary: OutcomeSummary, now: float) -> bool:
        """Returns whether the provider is left out now and was not before. `now`: Unix seconds."""
        provider = self._providers.get(summary.provider)
        if provider is None or provider.drained:
            return False
        before = provider.until > now
        if not before:
            provider.count(summary, now)
        if summary.retry_after:
            provider.leave_out("retry_after", now + summary.retry_after, now)
        return provider.until > now and not before

    def drain(self, name: str) -> None:
        """Leaves the provider out until `resume`. Raises KeyError."""
        provider = self._providers[name]
        provider.times_left_out["drained"] += not provider.drained
        provider.drained = True

    def resume(self, name: str) -> None:
        """Makes the provider available at once, whatever it was left out for. Raises KeyError."""
        self._providers[name].forget()
        self._providers[name].drained = False

    def update(self) -> AvailabilityUpdate:
        """Returns what workers are to know."""
        until = {name: math.inf if one.drained else one.until for name, one in self._providers.items()}
        return AvailabilityUpdate(
            {name: second for name, second in until.items() if second},
            [name for name, one in self._providers.items() if one.failures or one.pauses],
        )

    def states(self, now: float) -> dict[str, ProviderState]:
        """Returns the state of each provider, in the order of the configuration. `now`: Unix seconds."""
        return {name: one.state(now) for name, one in self._providers.items()}

    def times_left_out(self) -> dict[str, dict[Cause, int]]:
        """Returns how often each provider was left out since it is known, by the reason."""
        return {name: one.times_left_out for name, one in self._providers.items()}
