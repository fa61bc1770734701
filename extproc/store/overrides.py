"""Limits of accounts that somebody has changed by hand, the audit of these changes, and the file of one machine in
which both are kept."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec

from extproc.store.embedded import as_store_down, transaction
from extproc.store.interface import StoreDown

COUNTERS = "budgets.sqlite"
"""The file."""
MAX_CHANGES = 10_000
"""Older entries of the audit are removed."""


class Override(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody has changed of an account's limit by hand."""

    limit: int | None = None
    """Instead of the configured one."""
    until: int = 0
    """Unix seconds at which `limit` ends; 0: never."""
    grants: list[tuple[int, int]] = []
    """Amounts on top, each with the Unix seconds at which it ends."""
    created: int = 0
    """Unix seconds of the first change."""
    updated: int = 0
    """Unix seconds of the last change."""

    def set_limit(self, now: float) -> int | None:
        """Returns the limit that is in force instead of the configured one, or None."""
        return self.limit if not self.until or now < self.until else None

    def granted(self, now: float) -> int:
        """Returns what is on top of the limit."""
        return sum(amount for amount, until in self.grants if now < until)

    def effective(self, configured: int, now: float) -> int:
        """Returns the limit at this moment."""
        limit = self.set_limit(now)
        return max(0, (configured if limit is None else limit) + self.granted(now))

    def is_in_force(self, now: float) -> bool:
        """Returns whether it has not ended."""
        return self.set_limit(now) is not None or any(now < until for _, until in self.grants)

    @property
    def is_empty(self) -> bool:
        return self.limit is None and not self.grants


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the audit. Amounts are whole numbers, as those of accounts."""

    at: int
    """Unix seconds."""
    by: str
    """Subject of the caller, or the user of this machine."""
    via: Literal["api", "command"]
    action: Literal["set", "grant", "reset"]
    account: str
    old: int
    """The limit in force before; for `reset`: what was used."""
    new: int
    until: int = 0
    """Unix seconds at which the change ends; 0: never."""
    issuer: str = ""
    """Issuer of the caller's token."""


Edit = Callable[[Override], tuple[Override, Change]]
"""Makes a new override of the present one. If it raises, everything stays as it was."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS overrides (account TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS changes (number INTEGER PRIMARY KEY AUTOINCREMENT, value BLOB NOT NULL) STRICT",
)
_FORGET = "DELETE FROM changes WHERE number <= (SELECT max(number) FROM changes) - ?"


class KeptOverrides:
    """Tables of the file that counters are kept in."""

    def __init__(self, db: sqlite3.Connection, lock: Lock) -> None:
        """`lock`: held while `db` is used. Raises sqlite3.Error."""
        self._db = db
        self._lock = lock
        for table in _TABLES:
            db.execute(table)

    def all(self) -> dict[str, Override]:
        """By account. Raises StoreDown."""
        with self._lock, as_store_down():
            return _overrides(self._db)

    def edit(self, account: str, edit: Edit) -> Change:
        """Returns what was added to the audit. Raises StoreDown."""
        with self._lock, as_store_down(), transaction(self._db):
            row = self._db.execute("SELECT value FROM overrides WHERE account = ?", (account,)).fetchone()
            changed, change = edit(decode(row[0]) if row else Override())
            if changed.is_empty:
                self._db.execute("DELETE FROM overrides WHERE account = ?", (account,))
            else:
                row = account, msgspec.json.encode(changed)
                self._db.execute("INSERT OR REPLACE INTO overrides VALUES (?, ?)", row)
            self.add(change)
        return change

    def add(self, change: Change) -> None:
        """Adds to the audit, in a transaction of the caller."""
        self._db.execute("INSERT INTO changes (value) VALUES (?)", (msgspec.json.encode(change),))
        self._db.execute(_FORGET, (MAX_CHANGES,))

    def changes(self, limit: int) -> list[Change]:
        """The newest first. Raises StoreDown."""
        with self._lock, as_store_down():
            rows = self._db.execute("SELECT value FROM changes ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
        return [msgspec.json.decode(value, type=Change) for (value,) in rows]


def decode(value: bytes | str) -> Override:
    """Reads what `msgspec.json.encode` has written."""
    return msgspec.json.decode(value, type=Override)


def read_only(file: Path) -> dict[str, Override] | None:
    """Returns the overrides in a file that a gateway may be using, and changes nothing; None: there is no file. Raises
    StoreDown."""
    try:
        if not file.exists():
            return None
    except OSError as error:
        raise StoreDown(f"its folder cannot be used: {error.strerror}") from None
    # Without `mode=ro` SQLite makes a file that is not there: https://www.sqlite.org/uri.html.
    with as_store_down(), contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return _overrides(db)


def _overrides(db: sqlite3.Connection) -> dict[str, Override]:
    return {account: decode(value) for account, value in db.execute("SELECT account, value FROM overrides")}
