"""Carries out `extproc budget`: shows what is used, and changes limits while the gateway runs."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import msgspec

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.budgets import CONCURRENT, SEPARATOR, account
from extproc.policy.budgets.estimate import NANO
from extproc.policy.budgets.periods import ALWAYS, Period, Periods
from extproc.store.counters import Override
from extproc.store.interface import StoreDown
from extproc.supervisor.budgets import BudgetKeeper

log = logging.getLogger("extproc")

MAX_AMOUNT = 10**15


class BudgetCommand(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """What somebody on this machine asks for."""

    command: Literal["list", "set", "reset", "grant"]
    name: str = ""
    key: str = ""
    amount: float | None = None
    """In USD, tokens or calls; None for `set`: as configured."""
    measure: str = ""
    """Needed where the budget limits several."""
    until: float = 0
    """Unix seconds; 0 for `set`: for good; for `grant`: to the end of the period."""


class BudgetLine(msgspec.Struct):
    """A limit for one key. Amounts are in USD, tokens or calls."""

    name: str
    key: str
    measure: str
    used: float
    reserved: float
    limit: float
    configured: float
    resets: int
    """Unix seconds; 0: it does not."""


class BudgetAnswer(msgspec.Struct):
    lines: list[BudgetLine] = []
    problem: str = ""
    """Why nothing was done; empty: it was."""


async def carry_out(command: BudgetCommand, keeper: BudgetKeeper, now: float | None = None) -> BudgetAnswer:
    """`now`: Unix seconds."""
    now = time.time() if now is None else now
    budgets = {one.name: one for one in keeper.source.config.budgets} if keeper.source is not None else {}
    try:
        if command.command == "list":
            return BudgetAnswer([line async for line in _lines(budgets, keeper, now)])
        budget = budgets.get(command.name)
        if budget is None:
            return BudgetAnswer(problem=f"there is no budget {command.name!r}; there are: {', '.join(budgets)}")
        return BudgetAnswer(problem=await _change(command, budget, keeper, now))
    except StoreDown as error:
        return BudgetAnswer(problem=f"the counters cannot be used: {error}")


async def _lines(budgets: dict[str, Budget], keeper: BudgetKeeper, now: float) -> AsyncIterator[BudgetLine]:
    for state in sorted(await keeper.counters.states(), key=lambda one: one.account):
        name, measure, key = state.account.split(SEPARATOR, 2)
        budget = budgets.get(name)
        configured = dict(_limits(budget)).get(measure) if budget is not None else None
        if budget is None or configured is None:
            continue
        period = _period(budget, measure, now)
        used = sum(amount for bucket, amount in state.used.items() if bucket >= period.oldest)
        scale = _scale(measure)
        limit = keeper.limit(state.account, configured)
        yield BudgetLine(
            name=name,
            key=key,
            measure=measure,
            used=used / scale,
            reserved=state.held / scale,
            limit=limit / scale,
            configured=configured / scale,
            resets=0 if measure == CONCURRENT else period.resets,
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


def _limits(budget: Budget | None) -> Iterator[tuple[str, int]]:
    if budget is not None:
        for measure, most in budget.limit.model_dump(exclude_none=True).items():
            yield measure, round(most * _scale(measure))


def _scale(measure: str) -> int:
    return NANO if measure == "usd" else 1


def _period(budget: Budget, measure: str, now: float) -> Period:
    if measure == CONCURRENT:
        return ALWAYS
    return Periods(budget.per or "", budget.time_zone, budget.rolling_seconds).at(now)
