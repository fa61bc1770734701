"""Counts what all workers use of budgets: answers their claims, and keeps the counters on disk."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import msgspec

from extproc.config.loading import Source
from extproc.store.counters import AccountState, Claim, Counters, KeptCounters, LocalCounters, Taken
from extproc.store.interface import StoreDown
from extproc.store.opening import open_counters, state_folder
from extproc.store.overrides import Change, Edit, Override
from extproc.supervisor.unsettled import UnsettledCalls
from extproc.transport.orders import BudgetRecall, BudgetReply, BudgetRequest
from extproc.usage.calls import Fields

if TYPE_CHECKING:
    from extproc.store.shared_counters import SharedCounters

log = logging.getLogger("extproc")

T = TypeVar("T")
KEEP_SECONDS = 0.5
"""A supervisor that is killed loses what was used since."""
SETTLING_SECONDS = 0.06
"""A claim waits for so long where the limit is held and not used: for slices to come back, and for calls that end just
now, which their clients know a moment earlier."""
RECALL_SECONDS = 1.0
"""A question about usage is answered when all workers have given back what they keep, or after this time."""
MAX_WAITING = 64
"""Further claims do not wait, or a flood of them would cost as much as calls that are answered."""

Answer = Callable[[BudgetReply], None]


class _Kept(NamedTuple):
    """What the file of one machine holds."""

    kept: KeptCounters
    rows: Sequence[tuple[str, int, int, int]]
    overrides: dict[str, Override]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Waits for the file. Raises StoreDown."""
        kept = KeptCounters(folder)
        return cls(kept, kept.rows(time.time()), kept.overrides.all())


class BudgetKeeper:
    """Lives as long as the supervisor."""

    def __init__(self, recall: Callable[[BudgetRecall], None]) -> None:
        """`recall`: sends it to all workers."""
        self._recall = recall
        self._local = LocalCounters()
        self._shared: SharedCounters | None = None
        self._kept: KeptCounters | None = None
        self._is_unread = False
        """What was used before is in a file that could not be read yet."""
        self._overrides: dict[str, Override] = {}
        self.source: Source | None = None
        """The configuration in force."""
        self._holders: set[str] = set()
        self._settled = asyncio.Event()
        self._recalls: list[set[str]] = []
        """For each question, the workers that have not given back yet."""
        self._writing = asyncio.Lock()
        """Held while limits are changed or read again, and while counters are written: they run in threads."""
        self._waiting = 0
        self._looked = time.time()
        """When it was looked last for changes by hand that have ended."""
        self._is_down = False
        self._unsettled: UnsettledCalls | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def counters(self) -> Counters:
        return self._shared or self._local

    @property
    def is_up(self) -> bool:
        """The counters can be read, changed, and kept."""
        return not self._is_down and (self._shared is not None or self._kept is not None)

    @property
    def has_budgets(self) -> bool:
        return self.source is not None and bool(self.source.config.budgets)

    def check_read(self) -> None:
        """Raises StoreDown while nobody knows what was used before."""
        if self._is_unread:
            raise StoreDown("its file could not be read")

    def use(self, source: Source, environ: Mapping[str, str]) -> None:
        """Opens what the configuration names, if there are budgets and it is not open yet."""
        self.source = source
        if self._shared is not None or self._kept is not None or not source.config.budgets:
            return
        self._shared = open_counters(source, environ)
        if self._shared is not None:
            return
        try:
            self._go_on_with(_Kept.read(state_folder(source)))
        except StoreDown as error:
            self._is_unread = True
            self._note(error)

    def _go_on_with(self, found: _Kept) -> None:
        """Nobody knows what is used of a limit before this."""
        self._is_unread = False
        self._kept = self._local.kept = found.kept
        self._overrides = found.overrides
        self._local.load(found.rows)

    def started(self, holder: str) -> None:
        """A worker begins, again perhaps: what it held before is free."""
        self._holders.add(holder)
        self._do(self.counters.end(holder))

    def heard(self, holder: str, request: BudgetRequest, answer: Answer) -> None:
        """A worker claims or settles amounts."""
        if request.settlements or request.ended or request.recalled:
            self._do(self._settle(holder, request))
        if request.claims:
            self._do(self._take(holder, request, answer))

    def expect_log(self) -> None:
        """Each call's line in Envoy's log will come by `log`."""
        self._unsettled = UnsettledCalls()

    def log(self, line: Fields) -> None:
        """A call is over, by the fields of its line in Envoy's log."""
        if self._unsettled is not None:
            self._unsettled.log(line, time.monotonic())

    async def _charge_overdue(self, now: float) -> None:
        """Counts what calls have used whose worker was killed. `now`: seconds, as in `log`."""
        if self._unsettled is None or self.source is None:
            return
        if found := self._unsettled.overdue(self.source.config.budgets, now):
            with contextlib.suppress(StoreDown):  # they wait
                await self.counters.settle("", found)

    async def run(self) -> None:
        """Keeps the counters on disk until cancelled."""
        try:
            while True:
                await asyncio.sleep(KEEP_SECONDS)
                try:
                    await self._charge_overdue(time.monotonic())
                    await self._keep()
                except Exception as error:  # noqa: BLE001 - whatever the store holds, counting goes on
                    self._note(StoreDown(type(error).__name__))
                self._recall_ended()
        finally:
            try:
                await self._charge_overdue(math.inf)
            finally:
                if self._kept is not None:
                    with contextlib.suppress(StoreDown):
                        self._kept.add(self._local.changed)

    def _recall_ended(self) -> None:
        """Workers may still have slices of a limit that was changed by hand until a moment ago."""
        since, self._looked = self._looked, time.time()
        ended = [
            account
            for account, one in self._overrides.items()
            if any(since < until <= self._looked for until in (one.until, *(until for _, until in one.grants)))
        ]
        if ended:
            self._recall(BudgetRecall(ended))

    async def _keep(self) -> None:
        try:
            if self._is_unread and self.source is not None:
                self._go_on_with(await asyncio.to_thread(_Kept.read, state_folder(self.source)))
            elif self._shared is not None:
                await self._shared.renew()
                await self.refresh()
            elif self._kept is not None:
                await self._write(self._kept)
        except StoreDown as error:
            self._note(error)
        else:
            self._note(None)

    async def _write(self, kept: KeptCounters) -> None:
        """Raises StoreDown."""
        async with self._writing:
            changed, self._local.changed = self._local.changed, {}
            try:
                if changed:
                    await asyncio.to_thread(kept.add, changed)
            except BaseException:
                for key, (used, ends) in changed.items():
                    self._local.changed[key] = self._local.changed.get(key, (0, 0))[0] + used, ends
                raise

    def _note(self, problem: StoreDown | None) -> None:
        """Logs once that counters cannot be kept, and once that they can again."""
        if problem is not None and not self._is_down:
            log.error("counters of budgets cannot be kept: %s", problem)
        elif problem is None and self._is_down:
            log.warning("counters of budgets can be kept again")
        self._is_down = problem is not None

    async def _settle(self, holder: str, request: BudgetRequest) -> None:
        try:
            late = self._unsettled.settle(request.ended) if self._unsettled is not None else []
            await self.counters.settle(holder, request.settlements + late)
        except StoreDown as error:
            self._note(error)  # they wait
        if request.recalled:
            for unheard in self._recalls:
                unheard.discard(holder)
        if request.settlements or request.recalled:
            self._settled.set()

    async def override(self, account: str, edit: Edit) -> Change:
        """Changes a limit by hand, on all machines that share the store. Raises StoreDown, and what `edit` raises; then
        it was not changed, except perhaps where it raises MaybeDone."""
        made = Override()

        def noted(known: Override) -> tuple[Override, Change]:
            nonlocal made
            made, change = edit(known)
            return made, change

        async with self._writing:
            change = await self.counters.override(account, noted)
            others = {name: one for name, one in self._overrides.items() if name != account}
            self._overrides = others if made.is_empty else {**others, account: made}  # to read it again could fail
        self._recall(BudgetRecall([account]))
        return change

    async def reset(self, account: str, change: Change) -> None:
        """Nothing of the account is used any more. Raises StoreDown."""
        async with self._writing:
            await self.counters.reset(account, change)

    async def refresh(self) -> Sequence[str]:
        """Learns of changes that were made on another machine. Returns the accounts whose limits were changed by hand
        and are so still. Raises StoreDown."""
        self._recall_ended()
        async with self._writing:
            found, now = await self.counters.overrides(), time.time()
            self._overrides = {account: one for account, one in found.items() if one.is_in_force(now)}
        return list(self._overrides)

    def limit(self, account: str, configured: int) -> int:
        """The limit at this moment."""
        changed = self._overrides.get(account)
        return configured if changed is None else changed.effective(configured, time.time())

    def share(self, state: AccountState, configured: int, oldest: int) -> float:
        """Returns the part of the present limit that is used or reserved; 1 means all of it. `configured`: the limit;
        `oldest`: the bucket from which on what was used counts."""
        most, taken = self.limit(state.account, configured), state.used_since(oldest) + state.held
        return taken / most if most else float(taken > 0)

    def changes(self, account: str) -> Override:
        """What was changed of the account's limit by hand."""
        return self._overrides.get(account, Override())

    def _limited(self, claims: list[Claim]) -> list[Claim]:
        if not self._overrides:
            return claims
        limits = [self.limit(claim.account, claim.limit) for claim in claims]
        return [msgspec.structs.replace(one, limit=limit) for one, limit in zip(claims, limits, strict=True)]

    async def _take(self, holder: str, request: BudgetRequest, answer: Answer) -> None:
        claims = self._limited(request.claims)
        asked = [claim.account for claim in claims if claim.only_asks]
        if asked and self._shared is None:  # in Redis nobody keeps anything
            await self._call_in(asked)
        try:
            self.check_read()
            taken = await self.counters.take(holder, claims, len(self._holders))
            if taken.refused >= 0 and taken.may_fit_later and self._waiting < MAX_WAITING:
                taken = await self._take_later(holder, claims, taken)
            answer(BudgetReply(request.id, taken))
        except StoreDown as error:
            self._note(error)
            answer(BudgetReply(request.id, None))
        except Exception as error:  # noqa: BLE001 - a worker waits for an answer
            self._note(StoreDown(type(error).__name__))
            answer(BudgetReply(request.id, None))

    async def hear_workers(self) -> None:
        """Waits until all workers have told what calls have used that have ended, RECALL_SECONDS at most."""
        await self._call_in([])

    async def _call_in(self, accounts: list[str]) -> None:
        """Has workers give back what they keep for further calls, so that what is held is what calls have reserved."""
        unheard = set(self._holders)
        self._recalls.append(unheard)
        self._recall(BudgetRecall(accounts))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECALL_SECONDS):
                    while unheard:
                        self._settled.clear()
                        await self._settled.wait()
        finally:
            self._recalls = [one for one in self._recalls if one is not unheard]

    async def _take_later(self, holder: str, claims: Sequence[Claim], taken: Taken) -> Taken:
        """Waits for what others hold and do not use."""
        self._waiting += 1
        self._recall(BudgetRecall([claims[taken.refused].account]))
        now = asyncio.get_running_loop().time
        deadline = now() + SETTLING_SECONDS
        try:
            while taken.refused >= 0 and taken.may_fit_later and (left := deadline - now()) > 0:
                self._settled.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._settled.wait(), left)
                taken = await self.counters.take(holder, claims, len(self._holders))
        finally:
            self._waiting -= 1
        return taken

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it to its end, also where nobody waits for the answer any more."""
        return await asyncio.shield(self._do(work))

    def _do(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
