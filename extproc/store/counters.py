"""What is used of limits that several processes share: the interface, and the counters of one machine.

An account is what one limit allows one key. A holder (a worker) takes an amount before it is used, so that all holders
together never have more than the limit, and settles it when it knows what was used. Amounts are whole numbers.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from extproc.store.embedded import BUSY_SECONDS, as_store_down, make_private, transaction
from extproc.store.interface import StoreDown
from extproc.store.overrides import COUNTERS, Change, Edit, KeptOverrides, Override

SLICES = 16
"""A holder may take this fraction of what all together have left, so that it need not come back for each call."""
LEAST_CALLS = 4
"""A slice for fewer calls than this is not worth its bookkeeping: then exactly what a call needs is taken."""
SWEEP_SECONDS = 60.0
STATES_AT_ONCE = 1000
KEPT_SECONDS = 7 * 86400
"""The file keeps what has ended for so long: the clock may be ahead when the supervisor starts."""
MAX_BUCKETS = 200
"""More than any period has."""


class Claim(msgspec.Struct, array_like=True, frozen=True):
    """An amount that a call may use up of an account."""

    account: str
    amount: int
    limit: int
    """0 refuses every call, also one that costs nothing."""
    bucket: int
    """The part of the period in which it counts, by its beginning in Unix seconds. A period of the calendar is one."""
    oldest: int
    """What was used in this bucket and later ones counts against the limit."""
    ends: int
    """Unix seconds from which on the bucket counts no more."""
    observed: bool = False
    """It is granted beyond the limit, too."""
    only_asks: bool = False
    """Nothing is taken: somebody wants to see what is used, without what holders keep for further calls."""


class Settlement(msgspec.Struct, array_like=True, frozen=True):
    """What has become of an amount that was taken."""

    account: str
    bucket: int
    ends: int
    used: int
    released: int
    """How much less the holder has now."""


class Taken(msgspec.Struct, array_like=True, frozen=True):
    """The answer to claims, all of which are granted, or none."""

    granted: list[int]
    """What the holder gets for each claim; more than the claim's amount: a slice that it may keep. Empty: refused."""
    used: list[int]
    """What is used of each account, or held by somebody, before this."""
    limits: list[int]
    refused: int = -1
    """Which claim was too much; -1: none was."""
    may_fit_later: bool = False
    """What is refused may fit when holders have settled."""


class AccountState(msgspec.Struct, frozen=True):
    """What is counted for one account."""

    account: str
    used: dict[int, int]
    """By bucket."""
    held: int

    def used_since(self, oldest: int) -> int:
        """`oldest`: the first bucket that counts."""
        return sum(amount for bucket, amount in self.used.items() if bucket >= oldest)


def within_limit(claim: Claim) -> Claim:
    """Returns what is claimed in fact: a call that is larger than the limit may use up all of it, or it could never be
    made."""
    return (
        claim if claim.observed or claim.amount <= claim.limit else msgspec.structs.replace(claim, amount=claim.limit)
    )


class Counters(Protocol):
    """Every method may raise StoreDown."""

    async def take(self, holder: str, claims: Sequence[Claim], holders: int) -> Taken:
        """Takes all claims or none. `holders`: how many there are, for the size of slices."""

    async def settle(self, holder: str, settlements: Sequence[Settlement]) -> None:
        """Counts what was used."""

    async def end(self, holder: str) -> None:
        """The holder is gone, and what it held is free."""

    async def states(self, accounts: Sequence[str] | None = None) -> list[AccountState]:
        """These accounts, or all of which something is known."""

    async def reset(self, account: str, change: Change) -> None:
        """Nothing of the account is used any more. Adds to the audit. Raises MaybeDone, too."""

    async def overrides(self) -> dict[str, Override]:
        """By account."""

    async def override(self, account: str, edit: Edit) -> Change:
        """Changes a limit by hand, and adds to the audit: both or neither. Returns the entry. Raises MaybeDone, too."""

    async def changes(self, limit: int) -> list[Change]:
        """The last entries of the audit, the newest first."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Account:
    used: dict[int, int] = field(default_factory=dict)
    """By bucket."""
    held: dict[str, int] = field(default_factory=dict)
    """By holder."""
    ends: float = 0.0
    """When nothing of it counts any more, by the monotonic clock."""

    def forget(self, oldest: int) -> None:
        """Once in a while, buckets that count no more."""
        if len(self.used) > MAX_BUCKETS:
            self.used = {bucket: used for bucket, used in self.used.items() if bucket >= oldest}

    def counts(self, now: float) -> bool:
        return bool(self.held or (self.used and self.ends > now))

    def total(self, oldest: int) -> int:
        return sum(used for bucket, used in self.used.items() if bucket >= oldest) + sum(self.held.values())


class LocalCounters:
    """Counters in memory; `changed` has what a database is to keep."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`clock`: Unix seconds, which may jump; nothing that was used is forgotten because of that."""
        self._clock = clock
        self._monotonic = monotonic
        self._accounts: dict[str, _Account] = {}
        self._swept = monotonic()
        self.kept: KeptCounters | None = None
        """Where overrides are kept, and what was used."""
        self.changed: dict[tuple[str, int], tuple[int, int]] = {}
        """By account and bucket: what was used since `changed` was emptied, and when the bucket ends."""

    async def take(self, holder: str, claims: Sequence[Claim], holders: int) -> Taken:
        return self.take_now(holder, claims, holders)

    def take_now(self, holder: str, claims: Sequence[Claim], holders: int) -> Taken:
        """As `take`."""
        claims = [within_limit(claim) for claim in claims]
        self._sweep()
        accounts = [self._accounts.setdefault(claim.account, _Account()) for claim in claims]
        for account, claim in zip(accounts, claims, strict=True):
            account.forget(claim.oldest)
        used = [account.total(claim.oldest) for account, claim in zip(accounts, claims, strict=True)]
        limits = [claim.limit for claim in claims]
        for index, (claim, before) in enumerate(zip(claims, used, strict=True)):
            if (before + claim.amount > claim.limit or not claim.limit) and not claim.observed:
                settled = before - sum(accounts[index].held.values())
                fits_later = bool(claim.limit) and settled + claim.amount <= claim.limit
                return Taken([], used, limits, index, fits_later)
        granted = [_grant(claim, before, holders) for claim, before in zip(claims, used, strict=True)]
        for account, claim, amount in zip(accounts, claims, granted, strict=True):
            if not amount:
                continue
            account.held[holder] = account.held.get(holder, 0) + amount
            account.ends = max(account.ends, self._monotonic_end(claim.ends))
        return Taken(granted, used, limits)

    async def settle(self, holder: str, settlements: Sequence[Settlement]) -> None:
        self.settle_now(holder, settlements)

    def settle_now(self, holder: str, settlements: Iterable[Settlement]) -> None:
        """As `settle`."""
        for one in settlements:
            account = self._accounts.setdefault(one.account, _Account())
            if holder in account.held:
                account.held[holder] = max(0, account.held[holder] - one.released)
                if not account.held[holder]:
                    del account.held[holder]
            if one.used:
                account.used[one.bucket] = account.used.get(one.bucket, 0) + one.used
                account.ends = max(account.ends, self._monotonic_end(one.ends))
                key = one.account, one.bucket
                self.changed[key] = self.changed.get(key, (0, 0))[0] + one.used, one.ends

    async def end(self, holder: str) -> None:
        for account in self._accounts.values():
            account.held.pop(holder, None)

    async def states(self, accounts: Sequence[str] | None = None) -> list[AccountState]:
        found = []
        for number, name in enumerate(list(self._accounts) if accounts is None else accounts, 1):
            one = self._accounts.get(name) or _Account()
            found.append(AccountState(name, dict(one.used), sum(one.held.values())))
            if not number % STATES_AT_ONCE:
                await asyncio.sleep(0)  # workers wait for answers
        return found

    async def reset(self, account: str, change: Change) -> None:
        """What is used while the file is written stays. `changed` must not be written at the same time."""
        known = self._accounts.get(account) or _Account()
        before = dict(known.used)
        kept = {key: used for key, (used, _) in self.changed.items() if key[0] == account}
        await asyncio.to_thread(self._file().remove, account, change)
        known.used = {bucket: used - before.get(bucket, 0) for bucket, used in known.used.items()}
        for key, used in kept.items():
            left, ends = self.changed[key]
            self.changed[key] = left - used, ends

    async def overrides(self) -> dict[str, Override]:
        return await asyncio.to_thread(self.kept.overrides.all) if self.kept is not None else {}

    async def override(self, account: str, edit: Edit) -> Change:
        return await asyncio.to_thread(self._file().overrides.edit, account, edit)

    async def changes(self, limit: int) -> list[Change]:
        return await asyncio.to_thread(self.kept.overrides.changes, limit) if self.kept is not None else []

    def _file(self) -> "KeptCounters":
        """Raises StoreDown: a change that is not kept would have no audit."""
        if self.kept is None:
            raise StoreDown("there is no file to keep it in")
        return self.kept

    async def close(self) -> None:
        pass

    def load(self, rows: Iterable[tuple[str, int, int, int]]) -> None:
        """Takes what a database has kept: account, bucket, when it ends, and what was used."""
        for name, bucket, ends, used in rows:
            account = self._accounts.setdefault(name, _Account())
            account.used[bucket] = account.used.get(bucket, 0) + used
            account.ends = max(account.ends, self._monotonic_end(ends))

    def _monotonic_end(self, ends: int) -> float:
        """`ends`: Unix seconds."""
        return self._monotonic() + ends - self._clock()

    def _sweep(self) -> None:
        """Forgets accounts of which nothing counts any more."""
        now = self._monotonic()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        self._accounts = {name: one for name, one in self._accounts.items() if one.counts(now)}


def _grant(claim: Claim, used: int, holders: int) -> int:
    """Near the limit exactly what is needed, so that no holder keeps back what another one needs."""
    if claim.observed or not claim.amount:
        return claim.amount
    piece = (claim.limit - used - claim.amount) // (SLICES * max(1, holders))
    return piece if piece >= LEAST_CALLS * claim.amount else claim.amount


_TABLE = (
    "CREATE TABLE IF NOT EXISTS used (account TEXT, bucket INTEGER, ends INTEGER NOT NULL, used INTEGER NOT NULL,"
    " PRIMARY KEY (account, bucket)) STRICT"
)
_ADD = (
    "INSERT INTO used VALUES (?, ?, ?, ?) ON CONFLICT (account, bucket) DO UPDATE SET used = used + excluded.used,"
    " ends = max(ends, excluded.ends)"
)


class KeptCounters:
    """The file in which the counters of one machine outlive the supervisor. It holds sums, to which is added: a
    supervisor that leaves while the next one has started takes nothing away."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder with mode 0700 if it is not there. Raises StoreDown."""
        self._lock = threading.Lock()
        try:
            make_private(folder, COUNTERS)
            with as_store_down(), contextlib.ExitStack() as failed:
                self._db = sqlite3.connect(
                    folder / COUNTERS, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                failed.callback(self._db.close)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")  # a power cut loses nothing that was written
                self._db.execute(_TABLE)
                self.overrides = KeptOverrides(self._db, self._lock)
                failed.pop_all()
        except OSError as error:
            raise StoreDown(f"its folder cannot be used: {error.strerror}") from None

    def rows(self, now: float) -> list[tuple[str, int, int, int]]:
        """What still counts. `now`: Unix seconds. Raises StoreDown."""
        with self._lock, as_store_down():
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk
                self._db.execute("DELETE FROM used WHERE ends <= ?", (int(now) - KEPT_SECONDS,))
            select = "SELECT account, bucket, ends, used FROM used WHERE ends > ?"
            return self._db.execute(select, (int(now),)).fetchall()

    def add(self, changed: dict[tuple[str, int], tuple[int, int]]) -> None:
        """Adds what was used. Raises StoreDown, and then nothing was added."""
        rows = [(account, bucket, ends, used) for (account, bucket), (used, ends) in changed.items()]
        with self._lock, as_store_down(), transaction(self._db):
            self._db.executemany(_ADD, rows)

    def remove(self, account: str, change: Change) -> None:
        """Forgets what was used of the account. Raises StoreDown."""
        with self._lock, as_store_down(), transaction(self._db):
            self._db.execute("DELETE FROM used WHERE account = ?", (account,))
            self.overrides.add(change)

    def close(self) -> None:
        with self._lock:
            self._db.close()
