"""What a budget limits, under the names and in the whole numbers that counters have."""

import hashlib
from collections.abc import Iterator

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.periods import ALWAYS, Period, Periods

NANO = 10**9
"""Costs are billionths of a USD, as whole numbers."""
SEPARATOR = "\x1f"
"""Between the parts of an account's name: budget, measure, key."""
MAX_KEY = 200
CONCURRENT = "concurrent"
"""The measure that belongs to no period."""


def account(budget: str, measure: str, key: str) -> str:
    """Returns the name under which counters have what a key uses of a limit. A long key is known by its digest."""
    short = key if len(key) <= MAX_KEY else f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return SEPARATOR.join((budget, measure, short.replace(SEPARATOR, " ")))


def scale_of(measure: str) -> int:
    """Returns how many units of the counters make one of `gateway.yaml`."""
    return NANO if measure == "usd" else 1


def limits_of(budget: Budget) -> Iterator[tuple[str, int]]:
    """Yields each measure with its limit as configured, in units of the counters."""
    for measure, most in budget.limit.model_dump(exclude_none=True).items():
        yield measure, round(most * scale_of(measure))


def period_of(budget: Budget, measure: str, now: float) -> Period:
    """Returns the period that `now` (Unix seconds) is in."""
    if measure == CONCURRENT:
        return ALWAYS
    return Periods(budget.per or "", budget.time_zone, budget.rolling_seconds).at(now)
