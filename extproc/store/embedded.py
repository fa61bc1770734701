"""The embedded store: one SQLite file in a folder of ours, shared by the processes of one machine.

A write-ahead log lets readers and one writer work at the same time, and survives `kill -9`
(https://www.sqlite.org/wal.html).
"""

import asyncio
import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from extproc.store.interface import StoreDown

FILE = "store.sqlite"
BUSY_SECONDS = 5.0
"""How long an operation waits for another process's write."""
SWEEP_SECONDS = 60.0
T = TypeVar("T")

_TABLE = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, ends REAL NOT NULL) STRICT"
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, ends = excluded.ends"
)


class EmbeddedStore:
    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Makes the folder with mode 0700 if it is not there. `clock`: Unix seconds. Raises StoreDown."""
        self._clock = clock
        self._lock = threading.Lock()
        self._swept = 0.0
        try:
            make_private(folder, FILE)
            # No transaction begins by itself. By default a connection is for one thread; these operations run in any of
            # a pool, one at a time.
            self._db = sqlite3.connect(
                folder / FILE, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            with as_store_down():
                self._db.execute("PRAGMA journal_mode = WAL")
                # With FULL a commit is on disk when it returns: a code that was used must stay used.
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute(_TABLE)
        except OSError as error:
            raise StoreDown(f"its folder cannot be used: {error.strerror}") from None
        except sqlite3.Error as error:
            raise StoreDown(f"its file cannot be opened: {error}") from None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        await self._run(lambda now: self._db.execute(_PUT, (key, value, now + ttl)))

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        where = " WHERE entries.ends <= ?"
        return await self._run(lambda now: self._db.execute(_PUT + where, (key, value, now + ttl, now)).rowcount == 1)

    async def get(self, key: str) -> bytes | None:
        return await self._run(lambda now: self._one("SELECT value FROM entries WHERE key = ? AND ends > ?", key, now))

    async def take(self, key: str) -> bytes | None:
        delete = "DELETE FROM entries WHERE key = ? AND ends > ? RETURNING value"
        return await self._run(lambda now: self._one(delete, key, now))

    async def swap(self, key: str, old: bytes, new: bytes, ttl: float) -> bool:
        update = "UPDATE entries SET value = ?, ends = ? WHERE key = ? AND value = ? AND ends > ?"
        return await self._run(lambda now: self._db.execute(update, (new, now + ttl, key, old, now)).rowcount == 1)

    async def scan(self, prefix: str) -> dict[str, bytes]:
        # Keys are ASCII, so what begins with the prefix is below the prefix followed by a DEL.
        select = "SELECT key, value FROM entries WHERE key >= ? AND key < ? AND ends > ?"
        return await self._run(lambda now: dict(self._db.execute(select, (prefix, prefix + "\x7f", now)).fetchall()))

    async def close(self) -> None:
        with self._lock:
            self._db.close()

    def _one(self, statement: str, *values: str | float) -> bytes | None:
        row = self._db.execute(statement, values).fetchone()
        return row[0] if row else None

    async def _run(self, operation: Callable[[float], T]) -> T:
        """In a thread: a write waits for the disk."""
        return await asyncio.to_thread(self._run_here, operation)

    def _run_here(self, operation: Callable[[float], T]) -> T:
        with self._lock, as_store_down():
            now = self._clock()
            if now - self._swept > SWEEP_SECONDS:
                self._swept = now
                self._db.execute("DELETE FROM entries WHERE ends <= ?", (now,))
            return operation(now)


def make_private(folder: Path, name: str) -> None:
    """Makes the folder and an SQLite file in it, if they are not there, so that nobody else can open the file at any
    time; SQLite gives its further files the mode of the first. Raises OSError, also where a link stands in the place of
    a file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for path in folder.glob(name + "*"):
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        # Another process has removed its journal meanwhile. To open the file and change the mode of what is open is no
        # better way: to close it would take SQLite's locks from this process (https://sqlite.org/howtocorrupt.html).
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o600)


@contextlib.contextmanager
def as_store_down() -> Iterator[None]:
    """Raises StoreDown where SQLite fails."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreDown(str(error)) from None


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Writes all that is executed inside, or nothing if something raises."""
    # A transaction that begins by reading fails at its first write, without waiting, where another one has written:
    # https://www.sqlite.org/lang_transaction.html.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
