"""Calls that have ended and that no worker has settled: it was killed, and the log alone knows what they have used."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.limits import account, limits_of, period_of
from extproc.policy.budgets.used import budgets_of, charge_by_log
from extproc.store.counters import Settlement
from extproc.usage.calls import Fields, milliseconds

WAIT_SECONDS = 5.0
"""Between a call's line in the log and its settlement. Envoy gives up a worker that hangs for as long."""
MAX_KEPT = 100_000
"""Calls of which only one side has told; the oldest are forgotten."""


class UnsettledCalls:
    """Compares what the log and the workers say, which come in any order."""

    def __init__(self) -> None:
        self._settled: OrderedDict[str, None] = OrderedDict()
        """Calls of which no line has come yet."""
        self._logged: OrderedDict[str, tuple[float, Fields]] = OrderedDict()
        """Calls that no worker has settled yet, with the time of their line."""
        self._charged: OrderedDict[str, list[Settlement]] = OrderedDict()

    def log(self, line: Fields, now: float) -> None:
        """`line`: the fields of a call that is over. `now`: seconds, by any clock that does not jump."""
        call = line.get("request_id")
        if not call or not budgets_of(line):
            return
        if call in self._settled:
            del self._settled[call]
        else:
            self._logged[call] = now, line
            _bound(self._logged)

    def settle(self, calls: Iterable[str]) -> list[Settlement]:
        """A worker says that these are settled. Returns what takes back what was charged for them by the log."""
        found: list[Settlement] = []
        for call in calls:
            if call in self._charged:
                found += [_reversed(one) for one in self._charged.pop(call)]
            elif self._logged.pop(call, None) is None:
                self._settled[call] = None
                _bound(self._settled)
        return found

    def overdue(self, budgets: Sequence[Budget], now: float) -> list[Settlement]:
        """Returns what to charge for calls that have waited too long. `budgets`: those of the configuration."""
        found: list[Settlement] = []
        by_name = {budget.name: budget for budget in budgets}
        while self._logged:
            call, (since, line) = next(iter(self._logged.items()))
            if since + WAIT_SECONDS > now:
                break
            del self._logged[call]
            charged = list(_settlements(by_name, line))
            self._charged[call] = charged
            _bound(self._charged)
            found += charged
        return found


def _settlements(budgets: Mapping[str, Budget], line: Fields) -> Iterator[Settlement]:
    used, began = charge_by_log(line), milliseconds(line.get("time")) / 1000
    for name, key in budgets_of(line):
        if (budget := budgets.get(name)) is None:
            continue
        for measure, _ in limits_of(budget):
            if amount := getattr(used, measure):
                period = period_of(budget, measure, began)
                yield Settlement(account(name, measure, key), period.bucket, period.ends, amount, 0)


def _reversed(one: Settlement) -> Settlement:
    return Settlement(one.account, one.bucket, one.ends, -one.used, 0)


def _bound(calls: "OrderedDict[str, Any]") -> None:
    if len(calls) > MAX_KEPT:
        calls.popitem(last=False)
