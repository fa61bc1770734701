"""What a budget limits, in the whole numbers that counters have."""

from collections.abc import Iterator

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.periods import ALWAYS, Period, Periods

NANO = 10**9
"""Costs are billionths of a USD, as whole numbers."""
CONCURRENT = "concurrent"
"""The measure that belongs to no period."""


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
