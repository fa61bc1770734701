"""What a caller is told of its budgets: refusals, and headers of answers."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from extproc.config.schema_budgets import Budget
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.budgets.limits import NANO, scale_of
from extproc.policy.facts import Moved
from extproc.wire import Dialect, dialects

WARNING = "x-gateway-budget-warning"
_CONCURRENT_SECONDS = 2
_WORDS = {
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "requests": "requests",
}
_OF_SPEND, _OF_LIMITS = frozenset({"usd"}), frozenset({"requests", "tokens"})
_SURPASSED = (0.75, 0.95)
_PERIODS = {"day": "daily", "week": "weekly", "month": "monthly"}
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


def exceeded(state: State, dialect: Dialect, now: float) -> Rejection:
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
    known = _anthropic_over(state) if dialects.row(dialect).reads_spend else _openai([state], now)
    return Rejection(
        # Claude Code shows the message of a `billing_error` as it is.
        kind=Kind.BILLING if state.measure == "usd" else Kind.RATE_LIMIT,
        message=message,
        reason=Reason.BUDGET_EXCEEDED,
        code="insufficient_quota" if state.measure == "usd" else "rate_limit_exceeded",
        detail=f"budget:{name}",
        status=429,
        # Without the second, Anthropic's SDK would sleep until the period is over: it obeys any `retry-after`.
        headers=(("retry-after", str(seconds)), ("x-should-retry", "false"), *known.items()),
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


def told(dialect: Dialect) -> frozenset[str]:
    """Returns the measures that clients of this dialect are told of, with or without a warning."""
    return _OF_SPEND if dialects.row(dialect).reads_spend else _OF_LIMITS


def headers(states: Sequence[State], dialect: Dialect, now: float, moved: Sequence[Moved] = ()) -> dict[str, str]:
    """Returns the headers of an answer. `now`: Unix seconds; `moved`: the budgets that moved the call to the model that
    answers."""
    found = _anthropic(_nearest(states, "usd")) if dialects.row(dialect).reads_spend else _openai(states, now)
    warnings = [f"{one.budget}: no room, answered by {one.model}{_until(one.resets)}" for one in moved]
    warnings += [
        f"{state.budget.name}: {min(999, int(state.share * 100))} % of {state.measure}{_until(state.resets)}"
        for state in states
        if _warns(state)
    ]
    if warnings:
        found[WARNING] = "; ".join(warnings)
    return found


def _nearest(states: Sequence[State], measure: str) -> State | None:
    nearest: State | None = None
    for one in states:
        if one.measure == measure and (nearest is None or one.share > nearest.share):
            nearest = one
    return nearest


def _until(resets: int) -> str:
    return f", resets {_time(resets)}" if resets else ""


def _anthropic(state: State | None) -> dict[str, str]:
    """What Claude Code shows of a spend limit; `state`: the one of those in USD that is nearest."""
    if state is None:
        return {}
    share = state.share
    surpassed = bisect_right(_SURPASSED, share)
    status = "allowed_warning" if surpassed else "allowed"
    found = {
        "anthropic-ratelimit-unified-status": status,
        "anthropic-ratelimit-unified-reset": str(state.resets),
        "anthropic-ratelimit-unified-representative-claim": "overage",
        "anthropic-ratelimit-unified-overage-status": status,
        "anthropic-ratelimit-unified-overage-utilization": f"{min(0.99, share):.2f}",
        "anthropic-ratelimit-unified-overage-reset": str(state.resets),
    }
    if surpassed:
        found["anthropic-ratelimit-unified-overage-surpassed-threshold"] = str(_SURPASSED[surpassed - 1])
    return found


def _anthropic_over(state: State) -> dict[str, str]:
    """As `_anthropic`, of a call that is refused. With `representative-claim` and `overage-status` the client would put
    its own words in place of the message, and send the person to claude.ai."""
    if state.measure != "usd":
        return {}
    found = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": str(state.resets),
        "anthropic-ratelimit-unified-overage-utilization": "1",
        "anthropic-ratelimit-unified-overage-reset": str(state.resets),
        "anthropic-ratelimit-unified-overage-surpassed-threshold": "1",
        "anthropic-ratelimit-unified-overage-disabled-reason": "org_spend_cap_reached",
    }
    if (period := _PERIODS.get(state.budget.per or "")) is not None:
        found["anthropic-ratelimit-unified-overage-period"] = period
    return found


def _openai(states: Sequence[State], now: float) -> dict[str, str]:
    """https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers; of several limits the nearest."""
    found: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        if (state := _nearest(states, kind)) is not None:
            found[f"x-ratelimit-limit-{kind}"] = str(state.limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(max(0, state.limit - state.used))
            # A duration, such as `1s` or `6m0s`.
            found[f"x-ratelimit-reset-{kind}"] = f"{max(0, round(state.resets - now))}s"
    return found


def usage(states: Sequence[State]) -> dict[str, Any]:
    """The answer to `GET /v1/usage`: amounts in USD, tokens or calls."""
    budgets = []
    for state in states:
        unit = scale_of(state.measure)
        one = {"name": state.budget.name, "measure": state.measure, "used": state.used / unit}
        one |= {"limit": state.limit / unit, "per": state.budget.per}
        budgets.append(one | {"resets_at": _time(state.resets) if state.resets else None})
    return {"budgets": budgets}


def spend(states: Sequence[State]) -> dict[str, Any]:
    """The answer to Claude Code's `/usage`: the limit in USD that is nearest, in cents."""
    money = [one for one in states if one.measure == "usd" and one.budget.exceeded != "observe"]
    if not money:
        nothing = dict.fromkeys(("monthly_limit", "used_credits", "utilization"))
        return {"extra_usage": {"is_enabled": False, **nothing, "currency": "USD"}, "limits": []}
    state = max(money, key=lambda one: one.share)
    cents = NANO // 100
    percent = min(100, int(state.share * 100))
    limit = {
        "kind": "spend",
        "group": _PERIODS.get(state.budget.per or "", "monthly"),
        "percent": percent,
        "resets_at": _time(state.resets).replace("Z", ".000Z"),
        "severity": "normal",
        "is_active": True,
    }
    amounts = {"monthly_limit": state.limit // cents, "used_credits": state.used // cents, "utilization": percent}
    return {"extra_usage": {"is_enabled": True, **amounts, "currency": "USD"}, "limits": [limit]}


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
