"""Carries out `extproc budget` and the API for budgets: shows what is used, and changes limits while the gateway
runs."""

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.limits import CONCURRENT, SEPARATOR, account, limits_of, period_of, scale_of
from extproc.policy.budgets.periods import ALWAYS, Period
from extproc.printable import MAX_TIME, printable_time
from extproc.store.counters import AccountState
from extproc.store.interface import MaybeDone, StoreDown
from extproc.store.overrides import MAX_CHANGES, Change, Override
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.control import MAYBE_DONE, BudgetAnswer, BudgetChange, BudgetCommand, BudgetLine

log = logging.getLogger("extproc")

MAX_AMOUNT = 10**15


class _Refused(Exception):
    """`str()` says why nothing was done."""

    def __init__(self, problem: str, field: str) -> None:
        super().__init__(problem)
        self.field = field


async def carry_out(command: BudgetCommand, keeper: BudgetKeeper, now: float | None = None) -> BudgetAnswer:
    """A change is made to its end also where nobody waits for the answer any more; the answer has the limits as they
    are then. `now`: Unix seconds."""
    if command.command in ("list", "audit"):
        return await _answer(command, keeper, now)
    return await keeper.finish(_answer(command, keeper, now))


async def _answer(command: BudgetCommand, keeper: BudgetKeeper, now: float | None) -> BudgetAnswer:
    now = time.time() if now is None else now
    budgets = {one.name: one for one in keeper.source.config.budgets} if keeper.source is not None else {}
    try:
        keeper.check_read()
        match command.command:
            case "list":
                if command.name:
                    _known(command.name, budgets)
                states = await _states(command, keeper)
                # In a thread: there may be many, and workers wait for the supervisor.
                return await asyncio.to_thread(_listed, command, states, budgets, keeper, now)
            case "audit":
                entries = max(1, min(command.entries, MAX_CHANGES))
                found = await keeper.counters.changes(entries + 1)
                return await asyncio.to_thread(_audited, found, entries)
            case _:
                accounts = await _change(command, budgets, keeper, now)
                return await _changed(command, accounts, budgets, keeper, now)
    except _Refused as error:
        return BudgetAnswer(problem=str(error), field=error.field)
    except MaybeDone as error:
        return BudgetAnswer(problem=f"{MAYBE_DONE}: {error}", store_down=True, maybe_done=True)
    except StoreDown as error:
        return BudgetAnswer(problem=f"the counters cannot be used: {error}", store_down=True)


async def _changed(
    command: BudgetCommand, accounts: Sequence[str], budgets: dict[str, Budget], keeper: BudgetKeeper, now: float
) -> BudgetAnswer:
    """The change is made, so this cannot fail any more: without lines where the counters cannot be read now."""
    try:
        return _listed(command, await keeper.counters.states(accounts), budgets, keeper, now)
    except StoreDown as error:
        log.warning("a limit was changed, and its counters cannot be read: %s", error)
        return BudgetAnswer()


class _Limit(NamedTuple):
    """As configured."""

    most: int
    period: Period


class _Use(NamedTuple):
    state: AccountState
    limit: _Limit
    used: int
    share: float
    """The part of the present limit that is used or reserved; 1 means all of it."""


async def _states(command: BudgetCommand, keeper: BudgetKeeper) -> list[AccountState]:
    """Those that are asked for. All are also those that have used nothing, and were changed by hand. Raises
    StoreDown."""
    await keeper.hear_workers()
    changed = await keeper.refresh()
    if command.accounts is not None or command.only_changed:
        return await keeper.counters.states(list(changed) if command.accounts is None else command.accounts)
    found = await keeper.counters.states()
    known = {one.account for one in found}
    return [*found, *(AccountState(name, {}, 0) for name in changed if name not in known)]


def _listed(
    command: BudgetCommand, states: Sequence[AccountState], budgets: dict[str, Budget], keeper: BudgetKeeper, now: float
) -> BudgetAnswer:
    limits = {
        (name, measure): _Limit(most, period_of(budget, measure, now))
        for name, budget in budgets.items()
        if command.name in ("", name)
        for measure, most in limits_of(budget)
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
    used = state.used_since(limit.period.oldest)
    return _Use(state, limit, used, keeper.share(state, limit.most, limit.period.oldest))


def _line(use: _Use, keeper: BudgetKeeper, now: float) -> BudgetLine:
    state, limit = use.state, use.limit
    name, measure, key = state.account.split(SEPARATOR, 2)
    scale, changed = scale_of(measure), keeper.changes(state.account)
    set_to = changed.set_limit(now)
    return BudgetLine(
        name=name,
        key=key,
        measure=measure,
        used=use.used / scale,
        reserved=state.held / scale,
        limit=keeper.limit(state.account, limit.most) / scale,
        configured=limit.most / scale,
        resets=0 if measure == CONCURRENT else limit.period.resets,
        is_set=set_to is not None,
        set_until=changed.until,
        grants=[(amount / scale, until) for amount, until in changed.grants if now < until],
        set_to=None if set_to is None else set_to / scale,
        created=changed.created,
        updated=changed.updated,
    )


async def _change(command: BudgetCommand, budgets: dict[str, Budget], keeper: BudgetKeeper, now: float) -> list[str]:
    """Returns the accounts that were changed. Raises _Refused, StoreDown."""
    budget = _known(command.name, budgets)
    if command.until and round(command.until) <= now:
        raise _Refused("the time is over", "until")
    if round(command.until) > MAX_TIME:
        raise _Refused("expected a time before the year 10000", "until")
    limits = dict(limits_of(budget))
    if command.command == "reset":
        if command.measure and command.measure not in limits:
            raise _Refused(f"budget {budget.name} limits {', '.join(limits)}", "measure")
        return await _reset(command, budget, [command.measure] if command.measure else list(limits), keeper, now)
    measure = command.measure or next(iter(limits))
    if measure not in limits or (not command.measure and len(limits) > 1):
        raise _Refused(f"budget {budget.name} limits {', '.join(limits)}: say which with --measure", "measure")
    amount, period = _amount(command, measure), period_of(budget, measure, now)
    ends = 0 if period is ALWAYS or budget.rolling_seconds else period.resets
    name, configured = account(budget.name, measure, command.key), limits[measure]

    def edit(known: Override) -> tuple[Override, Change]:
        changed, until = _edited(known, command, amount, ends, now)
        amounts = known.effective(configured, now), changed.effective(configured, now)
        return changed, _made(command, name, now, amounts, until)

    _log(await keeper.override(name, edit))
    return [name]


def _known(name: str, budgets: Mapping[str, Budget]) -> Budget:
    """Raises _Refused."""
    if name not in budgets:
        raise _Refused(f"there is no budget {name!r}; there are: {', '.join(budgets)}", "name")
    return budgets[name]


def _edited(known: Override, command: BudgetCommand, amount: int | None, ends: int, now: float) -> tuple[Override, int]:
    """Returns the override after `set` or `grant`, and when the change ends. `ends`: of the period, in Unix seconds; 0:
    it has no end. Raises _Refused."""
    created, updated, until = known.created or int(now), int(now), round(command.until)
    if command.command == "set":
        if amount is None and until:
            raise _Refused("the configured limit has no end: a time goes with an amount", "until")
        return Override(amount, until, [], created, updated), until
    if amount is None:
        raise _Refused("a grant needs an amount", "amount")
    if not until and not ends:
        raise _Refused(f"budget {command.name} has no period that ends: say for how long with --until", "until")
    until = until or ends
    kept = [one for one in known.grants if one[1] > now]
    return Override(known.limit, known.until, [*kept, (amount, until)], created, updated), until


async def _reset(
    command: BudgetCommand, budget: Budget, measures: Sequence[str], keeper: BudgetKeeper, now: float
) -> list[str]:
    """Returns the accounts. Raises StoreDown."""
    accounts = [account(budget.name, measure, command.key) for measure in measures]
    for name, measure in zip(accounts, measures, strict=True):
        oldest = period_of(budget, measure, now).oldest
        [state] = await keeper.counters.states([name])
        used = state.used_since(oldest)
        change = _made(command, name, now, (used, 0))
        await keeper.reset(name, change)
        _log(change)
    return accounts


def _made(command: BudgetCommand, name: str, now: float, amounts: tuple[int, int], until: int = 0) -> Change:
    """The entry of the audit. `amounts`: the old and the new one."""
    assert command.command in ("set", "grant", "reset")
    return Change(int(now), command.by, command.via, command.command, name, *amounts, until, command.issuer)


def _log(change: Change) -> None:
    one = _entry(change)
    limit = f"{one.measure} {one.old:g} -> {one.new:g}, changed by hand"
    what = f"{one.measure} was reset by hand at {one.old:g}" if one.action == "reset" else limit
    by = f"{one.by!r} ({one.issuer})" if one.issuer else repr(one.by)
    log.warning("budget %s of %r: %s, by %s with the %s", one.name, one.key, what, by, one.via)


def _audited(found: Sequence[Change], entries: int) -> BudgetAnswer:
    return BudgetAnswer(changes=[_entry(one) for one in found[:entries]], has_more=len(found) > entries)


def _entry(change: Change) -> BudgetChange:
    name, measure, key = change.account.split(SEPARATOR, 2)
    old, new = change.old / scale_of(measure), change.new / scale_of(measure)
    made = change.at, change.by, change.via, change.action
    return BudgetChange(*made, name, key, measure, old, new, change.until, change.issuer)


def describe(account: str, changed: Override, budgets: Mapping[str, Budget], now: float) -> str:
    """Returns a line about a limit that was changed by hand; empty: nothing of it is in force. `now`: Unix seconds."""
    name, measure, key = account.split(SEPARATOR, 2)
    budget = budgets.get(name)
    configured, scale = dict(limits_of(budget)).get(measure) if budget is not None else None, scale_of(measure)
    if configured is None or changed.effective(configured, now) == configured:
        return ""
    ends = [changed.until] if changed.set_limit(now) is not None and changed.until else []
    ends += [until for _, until in changed.grants if now < until]
    until = f", until {printable_time(min(ends))}" if ends else ""
    limit = f"{changed.effective(configured, now) / scale:.12g} instead of {configured / scale:.12g}"
    return f"budget {name} of {key!r}: {measure} {limit} by hand{until}"


def _amount(command: BudgetCommand, measure: str) -> int | None:
    """Returns the amount in whole numbers. Raises _Refused."""
    if command.amount is None:
        return None
    scaled = command.amount * scale_of(measure)
    if not math.isfinite(scaled) or not 0 <= scaled <= MAX_AMOUNT:
        raise _Refused("expected an amount that is not negative, and not beyond all measure", "amount")
    if measure != "usd" and scaled != round(scaled):
        raise _Refused(f"{measure} are counted in whole numbers", "amount")
    return round(scaled)
