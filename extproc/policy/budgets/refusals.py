"""What a caller is told of its budgets: refusals, and headers of answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from extproc.config.schema_budgets import Budget
from extproc.errors import Kind, Reason, Rejection

NANO = 10**9
WARNING = "x-gateway-budget-warning"
_CONCURRENT_SECONDS = 2
_WORDS = {
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "requests": "requests",
}
DOWN = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway cannot check its budgets at the moment, try again in a moment",
    reason=Reason.OVERLOADED,
    detail="budgets_down",
    status=503,
    headers=(("retry-after", "2"),),
)


class State(NamedTuple):
    """A limit that applies to a call."""

    budget: Budget
    measure: str
    limit: int
    used: int
    resets: int
    """Unix seconds; 0: whenever a call ends."""

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else 1.0


def exceeded(state: State, now: float) -> Rejection:
    """Returns the 429 for this limit. It names the limit, and nothing that anybody has used."""
    name = state.budget.name
    if state.measure == "concurrent":
        message = f"budget {name}: {state.limit} calls at one time are in progress, try again when one has ended"
        seconds = _CONCURRENT_SECONDS
    else:
        amount = f"{usd(state.limit)} USD" if state.measure == "usd" else f"{state.limit} {_WORDS[state.measure]}"
        period = f"each {state.budget.per}" if not state.budget.rolling_seconds else f"in {state.budget.per}"
        message = f"budget {name}: {amount} {period} are used up or reserved"
        message += "" if state.budget.rolling_seconds else f"; it resets at {_time(state.resets)}"
        seconds = max(1, round(state.resets - now))
    return Rejection(
        kind=Kind.BILLING if state.measure == "usd" else Kind.RATE_LIMIT,
        message=message,
        reason=Reason.BUDGET_EXCEEDED,
        code="insufficient_quota" if state.measure == "usd" else "rate_limit_exceeded",
        detail=f"budget:{name}",
        status=429,
        headers=(("retry-after", str(seconds)), ("x-should-retry", "false")),
    )


def undecided(name: str) -> Rejection:
    """Returns the 403 for a call of which it cannot be said which budget it belongs to."""
    return Rejection(
        kind=Kind.PERMISSION,
        message=f"this token does not say what the budget {name} needs to know",
        reason=Reason.AUTHORIZATION,
        code="insufficient_permissions",
        detail=f"budget_undecided:{name}",
    )


def headers(states: Sequence[State]) -> dict[str, str]:
    """For an answer."""
    warned = [state for state in states if _warns(state)]
    if not warned:
        return {}
    texts = [
        f"{state.budget.name}: {min(999, int(state.share * 100))} % of {state.measure}"
        + (f", resets {_time(state.resets)}" if state.resets else "")
        for state in warned
    ]
    return {WARNING: "; ".join(texts)}


def _warns(state: State) -> bool:
    at = state.budget.warn_at
    if at is not None and state.share >= at:
        return True
    return state.budget.exceeded == "observe" and state.share > 1


def usd(billionths: int) -> str:
    """Returns USD without zeros that say nothing."""
    return f"{billionths / NANO:.9f}".rstrip("0").rstrip(".")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
