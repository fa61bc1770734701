"""What the supervisor itself tells Prometheus, worked out when Prometheus asks. What workers count is in
transport/metrics.py."""

import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import Counter, Gauge
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.limits import SEPARATOR, limits_of, period_of
from extproc.providers.availability import CoolDowns
from extproc.store.counters import AccountState
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.metrics import PROVIDER, Metric
from extproc.transport.status import Status
from extproc.usage.calls import Counts

LEFT_OUT_BY_ENVOY = Metric(
    "extproc_log_left_out_by_envoy", Counter, "Refusals of Envoy's own, before the processor saw a call, not logged.",
    claims=False,
)  # fmt: skip
# Named as Prometheus names those of its own configuration.
IN_FORCE = Metric(
    "extproc_config_last_reload_successful", Gauge, "1: the newest files are in force; 0: they are refused.",
    claims=False,
)  # fmt: skip
SINCE = Metric(
    "extproc_config_last_reload_success_timestamp_seconds", Gauge, "When the configuration in force was taken.",
    claims=False,
)  # fmt: skip
GENERATION = Metric("extproc_config_generation", Gauge, "Counts configurations that were taken.", claims=False)
RELOADS = Metric("extproc_config_reloads", Counter, "Reloads by how they ended.", ("result",), claims=False)
DELETED = Metric(
    "extproc_deleted_key_files", Gauge, "Files of keys that are gone; their keys count for `max_stale` at most.",
    claims=False,
)  # fmt: skip
AVAILABLE = Metric(
    "extproc_provider_available", Gauge,
    "1: models with several providers ask this one; 0: they leave it out, because it cools down or was drained.",
    (PROVIDER,), claims=False,
)  # fmt: skip
TIMES_LEFT_OUT = Metric(
    "extproc_provider_left_out", Counter,
    "How often models with several providers began to leave this one out. `cause`: failures, retry_after, drained.",
    (PROVIDER, "cause"), claims=False,
)  # fmt: skip
READY = Metric("extproc_ready", Gauge, "1: calls are served, as `/readyz` says; 0: they are not.", claims=False)
LEDGER = Metric(
    "extproc_usage_calls", Counter, "Calls for the ledger (`usage`), by what became of them. `result`: stored; "
    "dropped, because the database could not be used for too long.",
    ("result",), claims=False,
)  # fmt: skip
LEDGER_WAITING = Metric("extproc_usage_waiting", Gauge, "Calls that wait for the ledger.", claims=False)
BUDGET_USED = Metric(
    "extproc_budget_used_ratio", Gauge,
    "What is used or reserved of a limit, as a share of it. A budget of which at most 20 keys are in use has a series "
    "for each `key`; one with more has the highest alone, without `key`.",
    ("budget", "measure", "key"), claims=False,
)  # fmt: skip
BUDGET_KEYS = Metric(
    "extproc_budget_keys", Gauge,
    "Keys of a budget that are in use, by the share of the limit that is used. `state`: below; near, from `warn_at` "
    "on, or from 80 %; used_up.",
    ("budget", "measure", "state"), claims=False,
)  # fmt: skip
BUDGET_STORE = Metric(
    "extproc_budget_store_up", Gauge,
    "1: the counters of budgets can be read and kept; 0: they cannot, and `store.when_down` decides about calls.",
    claims=False,
)  # fmt: skip
METRICS = (
    LEFT_OUT_BY_ENVOY, IN_FORCE, SINCE, GENERATION, RELOADS, DELETED, AVAILABLE, TIMES_LEFT_OUT, READY, LEDGER,
    LEDGER_WAITING, BUDGET_USED, BUDGET_KEYS, BUDGET_STORE,
)  # fmt: skip


class OfConfiguration(Collector):
    """What the supervisor has to tell of the configuration."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Family]:
        status = self._status
        gauges = {IN_FORCE: float(not status.refused), SINCE: status.since, GENERATION: float(status.generation)}
        gauges[DELETED] = float(len(status.deleted_key_files))
        for metric, value in gauges.items():
            yield GaugeMetricFamily(metric.name, metric.meaning, value)
        reloads = CounterMetricFamily(RELOADS.name, RELOADS.meaning, labels=RELOADS.labels)
        for result, count in status.reloads.items():
            reloads.add_metric([result], count)
        yield reloads


class OfProviders(Collector):
    """Which providers are left out for a while, as the supervisor has counted."""

    def __init__(self, cool_downs: CoolDowns, clock: Callable[[], float] = time.time) -> None:
        self._cool_downs = cool_downs
        self._clock = clock

    def collect(self) -> Iterable[Family]:
        available = GaugeMetricFamily(AVAILABLE.name, AVAILABLE.meaning, labels=AVAILABLE.labels)
        for name, found in self._cool_downs.states(self._clock()).items():
            available.add_metric([name], float(found.state == "available"))
        yield available
        times = CounterMetricFamily(TIMES_LEFT_OUT.name, TIMES_LEFT_OUT.meaning, labels=TIMES_LEFT_OUT.labels)
        for name, causes in self._cool_downs.times_left_out().items():
            for cause, count in causes.items():
                times.add_metric([name, cause], count)
        yield times


class OfEnvoy(Collector):
    """What Envoy counts. `left_out`: asks it."""

    def __init__(self, left_out: Callable[[], int]) -> None:
        self._left_out = left_out

    def collect(self) -> Iterable[Family]:
        yield CounterMetricFamily(LEFT_OUT_BY_ENVOY.name, LEFT_OUT_BY_ENVOY.meaning, self._left_out())


class OfReadiness(Collector):
    """Whether calls are served, asked at each scrape."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def collect(self) -> Iterable[Family]:
        yield GaugeMetricFamily(READY.name, READY.meaning, float(self._ready()))


class OfLedger(Collector):
    """What has become of calls for the ledger. `counts`: asks its writer."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Family]:
        counts = self._counts()
        calls = CounterMetricFamily(LEDGER.name, LEDGER.meaning, labels=LEDGER.labels)
        calls.add_metric(["stored"], counts.stored)
        calls.add_metric(["dropped"], counts.dropped)
        yield calls
        yield GaugeMetricFamily(LEDGER_WAITING.name, LEDGER_WAITING.meaning, counts.waiting)


MAX_KEYS = 20
"""A budget of more keys has no series of each: there may be one key for each person."""
NEAR = 0.8
STATES = ("below", "near", "used_up")
RESTS = 20
"""Reading the counters takes at most this part of the time: between two reads, so many times as long as one takes."""


class Limit(NamedTuple):
    """One measure of a budget, at one moment."""

    budget: Budget
    measure: str
    configured: int
    oldest: int
    """Buckets from this one on count."""

    def state(self, share: float) -> str:
        return STATES[2] if share >= 1 else STATES[1] if share >= (self.budget.warn_at or NEAR) else STATES[0]


class OfBudgets(Collector):
    """What is used of budgets. Their number bounds the series, whatever callers do. While the counters cannot be read
    there are none, and BUDGET_STORE says so."""

    def __init__(
        self,
        keeper: BudgetKeeper,
        states: Callable[[], Sequence[AccountState] | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`states`: asks for the counters; None: they cannot be read."""
        self._keeper = keeper
        self._states = states
        self._clock = clock
        self._known: Sequence[AccountState] | None = None
        self._read_again = 0.0

    def collect(self) -> Iterable[Family]:
        source = self._keeper.source
        if source is None or not source.config.budgets:
            return
        states = self._read()
        up = self._keeper.is_up and states is not None
        yield GaugeMetricFamily(BUDGET_STORE.name, BUDGET_STORE.meaning, float(up))
        if states is None:
            return
        used = GaugeMetricFamily(BUDGET_USED.name, BUDGET_USED.meaning, labels=BUDGET_USED.labels)
        keys = GaugeMetricFamily(BUDGET_KEYS.name, BUDGET_KEYS.meaning, labels=BUDGET_KEYS.labels)
        limits = list(_limits(source.config.budgets, self._clock()))
        for limit, shares in zip(limits, self._shares(limits, states), strict=True):
            name, measure = limit.budget.name, limit.measure
            shown = shares if len(shares) <= MAX_KEYS else {"": max(shares.values())}
            for key, share in shown.items():
                used.add_metric([name, measure, key], share)
            counts = Count(limit.state(share) for share in shares.values())
            for state in STATES:
                keys.add_metric([name, measure, state], counts[state])
        yield from (used, keys)

    def _read(self) -> Sequence[AccountState] | None:
        began = time.monotonic()
        if began >= self._read_again:
            self._known = self._states()
            now = time.monotonic()
            self._read_again = now + (RESTS * (now - began) if self._known is not None else 0.0)
        return self._known

    def _shares(self, limits: Sequence[Limit], states: Sequence[AccountState]) -> list[dict[str, float]]:
        """For each limit, what is used of it by key; keys that use nothing are left out."""
        found: dict[tuple[str, str], tuple[Limit, dict[str, float]]] = {
            (one.budget.name, one.measure): (one, {}) for one in limits
        }
        for state in states:
            name, measure, key = state.account.split(SEPARATOR, 2)
            limit, shares = found.get((name, measure), (None, {}))
            if limit is None:
                continue  # of a budget that is configured no more
            if share := self._keeper.share(state, limit.configured, limit.oldest):
                shares[key] = share
        return [shares for _, shares in found.values()]


def _limits(budgets: Iterable[Budget], now: float) -> Iterator[Limit]:
    for one in budgets:
        for measure, most in limits_of(one):
            yield Limit(one, measure, most, period_of(one, measure, now).oldest)
