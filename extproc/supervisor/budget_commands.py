"""Carries out `extproc budget`: shows what is used, and changes limits while the gateway runs."""

import asyncio
import heapq
import logging
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.budgets import CONCURRENT, SEPARATOR, account
from extproc.policy.budgets.estimate import NANO
from extproc.policy.budgets.periods import ALWAYS, Period, Periods
from extproc.store.counters import AccountState, Override
from extproc.store.interface import StoreDown
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.control import BudgetAnswer, BudgetCommand, BudgetLine

log = logging.getLogger("extproc")

MAX_AMOUNT = 10**15


async def carry_out(command: BudgetCommand, keeper: BudgetKeeper, now: float | None = None) -> BudgetAnswer:
    """`now`: Unix seconds."""
    now = time.time() if now is None else now
    budgets = {one.name: one for one in keeper.source.config.budgets} if keeper.source is not None else {}
    try:
        if command.command == "list":
            states = await keeper.counters.states(command.accounts)
            # In a thread: there may be many, and workers wait for the supervisor.
            return await asyncio.to_thread(_listed, command, states, budgets, keeper, now)
        budget = budgets.get(command.name)
        if budget is None:
            return BudgetAnswer(problem=f"there is no budget {command.name!r}; there are: {', '.join(budgets)}")
        return BudgetAnswer(problem=await _change(command, budget, keeper, now))
    except StoreDown as error:
        return BudgetAnswer(problem=f"the counters cannot be used: {error}")


class _Limit(NamedTuple):
    """As configured."""

    most: int
    period: Period


class _Use(NamedTuple):
    state: AccountState
    limit: _Limit
    used: int
    share: float
    """Of the limit at this moment, with what is reserved; 1 is all of it."""


def _listed(
    command: BudgetCommand, states: Sequence[AccountState], budgets: dict[str, Budget], keeper: BudgetKeeper, now: float
) -> BudgetAnswer:
    limits = {
        (name, measure): _Limit(most, _period(budget, measure, now))
        for name, budget in budgets.items()
        if command.name in ("", name)
        for measure, most in _limits(budget)
    }
    by_budget: dict[str, list[_Use]] = {}
    for state in states:
        name, measure, _ = state.account.split(SEPARATOR, 2)
        if (limit := limits.get((name, measure))) is not None:  # else it is not configured any more
            by_budget.setdefault(name, []).append(_use(state, limit, keeper))
    shown: list[_Use] = []
    for _, uses in sorted(by_budget.items()):
        if command.most:
            first = heapq.nsmallest(command.skip + command.most, uses, lambda one: (-one.share, one.state.account))
            shown += first[command.skip :]
        else:
            shown += sorted(uses, key=lambda one: one.state.account)
    totals = {name: len(uses) for name, uses in by_budget.items()}
    return BudgetAnswer([_line(one, keeper, now) for one in shown], totals=totals)


def _use(state: AccountState, limit: _Limit, keeper: BudgetKeeper) -> _Use:
    used = sum(amount for bucket, amount in state.used.items() if bucket >= limit.period.oldest)
    most, taken = keeper.limit(state.account, limit.most), used + state.held
    return _Use(state, limit, used, taken / most if most else float(taken > 0))


def _line(use: _Use, keeper: BudgetKeeper, now: float) -> BudgetLine:
    state, limit = use.state, use.limit
    name, measure, key = state.account.split(SEPARATOR, 2)
    scale, changed = _scale(measure), keeper.changes(state.account)
    return BudgetLine(
        name=name,
        key=key,
        measure=measure,
        used=use.used / scale,
        reserved=state.held / scale,
        limit=keeper.limit(state.account, limit.most) / scale,
        configured=limit.most / scale,
        resets=0 if measure == CONCURRENT else limit.period.resets,
        is_set=changed.limit is not None and (not changed.until or now < changed.until),
        set_until=changed.until,
        grants=[(amount / scale, until) for amount, until in changed.grants if now < until],
    )


async def _change(command: BudgetCommand, budget: Budget, keeper: BudgetKeeper, now: float) -> str:
    """Returns why nothing was done."""
    limits = dict(_limits(budget))
    if command.command == "reset":
        for measure in [command.measure] if command.measure else limits:
            await keeper.counters.reset(account(budget.name, measure, command.key))
        log.warning("budget %s of %r was reset by hand", budget.name, command.key)
        return ""
    measure = command.measure or next(iter(limits))
    if measure not in limits or (not command.measure and len(limits) > 1):
        return f"budget {budget.name} limits {', '.join(limits)}: say which with --measure"
    name = account(budget.name, measure, command.key)
    before = keeper.limit(name, limits[measure])
    known = keeper.changes(name)
    amount = None if command.amount is None else round(command.amount * _scale(measure))
    if amount is not None and not 0 <= amount <= MAX_AMOUNT:
        return "expected an amount that is not negative, and not beyond all measure"
    if command.command == "set":
        changed = Override(amount, round(command.until))
    else:
        until = round(command.until) or _period(budget, measure, now).resets
        if amount is None or (not command.until and (measure == CONCURRENT or budget.rolling_seconds)):
            return f"budget {budget.name} has no period that ends: say for how long with --until"
        kept = [one for one in known.grants if one[1] > now]
        changed = Override(known.limit, known.until, [*kept, (amount, until)])
    await keeper.override(name, changed)
    after, scale = keeper.limit(name, limits[measure]), _scale(measure)
    log.warning(
        "budget %s of %r: %s %g -> %g, changed by hand",
        budget.name,
        command.key,
        measure,
        before / scale,
        after / scale,
    )
    return ""


def _limits(budget: Budget) -> Iterator[tuple[str, int]]:
    for measure, most in budget.limit.model_dump(exclude_none=True).items():
        yield measure, round(most * _scale(measure))


def _scale(measure: str) -> int:
    return NANO if measure == "usd" else 1


def _period(budget: Budget, measure: str, now: float) -> Period:
    if measure == CONCURRENT:
        return ALWAYS
    return Periods(budget.per or "", budget.time_zone, budget.rolling_seconds).at(now)
