"""Carries out `extproc budget`: shows what is used, and changes limits while the gateway runs."""

import logging
import time
from collections import Counter
from collections.abc import Iterator

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
            return await _listed(command, budgets, keeper, now)
        budget = budgets.get(command.name)
        if budget is None:
            return BudgetAnswer(problem=f"there is no budget {command.name!r}; there are: {', '.join(budgets)}")
        return BudgetAnswer(problem=await _change(command, budget, keeper, now))
    except StoreDown as error:
        return BudgetAnswer(problem=f"the counters cannot be used: {error}")


async def _listed(command: BudgetCommand, budgets: dict[str, Budget], keeper: BudgetKeeper, now: float) -> BudgetAnswer:
    lines = [
        line
        for state in await keeper.counters.states(command.accounts)
        if (line := _line(state, budgets, keeper, now)) is not None and command.name in ("", line.name)
    ]
    totals = Counter(line.name for line in lines)
    if not command.most:
        return BudgetAnswer(sorted(lines, key=lambda one: (one.name, one.measure, one.key)), totals=totals)
    lines.sort(key=lambda one: (-one.share, one.key, one.measure))
    by_budget = ([line for line in lines if line.name == name] for name in budgets)
    shown = [line for found in by_budget for line in found[command.skip : command.skip + command.most]]
    return BudgetAnswer(shown, totals=totals)


def _line(state: AccountState, budgets: dict[str, Budget], keeper: BudgetKeeper, now: float) -> BudgetLine | None:
    """None: the configuration has no such limit any more."""
    name, measure, key = state.account.split(SEPARATOR, 2)
    budget = budgets.get(name)
    configured = dict(_limits(budget)).get(measure)
    if budget is None or configured is None:
        return None
    period = _period(budget, measure, now)
    used = sum(amount for bucket, amount in state.used.items() if bucket >= period.oldest)
    scale, changed = _scale(measure), keeper.changes(state.account)
    return BudgetLine(
        name=name,
        key=key,
        measure=measure,
        used=used / scale,
        reserved=state.held / scale,
        limit=keeper.limit(state.account, configured) / scale,
        configured=configured / scale,
        resets=0 if measure == CONCURRENT else period.resets,
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
