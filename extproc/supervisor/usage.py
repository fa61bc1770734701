"""Writes calls to the ledger, in batches and in a thread of its own: a database that hangs holds nothing else up.

A thread is enough, and no process of its own: it waits for the database nearly all of its time, and the supervisor,
where all records come together, has no call to answer.
"""

import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import msgspec

from extproc.config.loading import Source
from extproc.transport import usage_sender
from extproc.usage.calls import Call, Counts, Fields, call_of, ids, is_kept
from extproc.usage.opening import open_ledger

if TYPE_CHECKING:
    from extproc.usage.ledger import Ledger

log = logging.getLogger("extproc")

MAX_WAITING = 20_000
"""Calls that wait while the database cannot be used, about 30 MB; more are dropped, and counted."""
MAX_BATCH = 1000
PAUSE_SECONDS = 0.2
"""Between a call and its batch."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
SWEEP_SECONDS = 3600.0

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def writer(source: Source, environ: Mapping[str, str]) -> "LedgerWriter | None":
    """Returns one that works already, if the configuration has a ledger."""
    settings = source.config.usage
    if settings is None:
        return None
    made = LedgerWriter(partial(open_ledger, source, dict(environ)), settings.retention_seconds)
    made.start()
    return made


def call_in(line: str) -> Fields | None:
    """Returns the fields of a line of the log; None: Envoy has printed something else."""
    if not line.startswith("{"):
        return None
    try:
        fields: Fields = _decode(line)
    except msgspec.DecodeError:
        return None
    return fields


class LedgerWriter:
    def __init__(self, opened: Callable[[], "Ledger"], retention: float) -> None:
        """`opened`: makes the ledger, in the writer's thread; may raise OSError. `retention`: seconds for which calls
        are kept."""
        self._opened = opened
        self._retention = retention
        self._ledger: Ledger | None = None
        self._waiting: queue.Queue[Call] = queue.Queue(MAX_WAITING)
        self._ids = ids()
        self._stopping = Event()
        self._is_down = False
        self._is_full = False
        self._sweep_at = 0.0
        self._taken = self._stored = self._refused = self._dropped = 0
        self._thread = Thread(target=self._run, daemon=True, name="usage")

    def start(self) -> None:
        self._thread.start()

    def counts(self) -> Counts:
        waiting = self._taken - self._stored - self._refused
        return Counts(self._stored, self._dropped + self._refused, waiting)

    def read_log_line(self, line: str) -> None:
        """A line as Envoy prints it."""
        if (fields := call_in(line)) is not None:
            self.add(fields)

    def read_worker_line(self, line: str) -> None:
        """The same for a worker's line."""
        if (fields := usage_sender.parse_call(line)) is not None:
            self.read_log_line(fields)
        elif (count := usage_sender.parse_dropped(line)) > 0:
            self.dropped(count)

    def add(self, fields: Fields) -> None:
        """A call that is over, by the fields of its line in the log. Returns at once."""
        if not is_kept(fields):
            return
        self._taken += 1
        try:
            self._waiting.put_nowait(call_of(fields, next(self._ids)))
        except queue.Full:
            self._taken -= 1
            self.dropped(1)

    def dropped(self, count: int) -> None:
        """Counts calls that are in no ledger."""
        self._dropped += count
        if not self._is_full:
            log.error("calls are missing in the ledger, since too many wait for it; the log has all of them")
        self._is_full = True

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Stores what waits, within so many seconds."""
        self._stopping.set()
        self._thread.join(seconds)
        if left := self.counts().waiting:
            log.error("%d calls are missing in the ledger, which could not be written at the end", left)

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._waiting.empty()):
            self._sweep()
            batch = self._next_batch()
            while batch and not self._store(batch):
                if self._stopping.wait(RETRY_SECONDS):
                    return  # what could not be stored now will not be stored in a moment
            self._is_full = self._is_full and not self._waiting.empty()
        if self._ledger is not None:
            self._ledger.close()

    def _next_batch(self) -> list[Call]:
        with contextlib.suppress(queue.Empty):
            first = self._waiting.get(timeout=PAUSE_SECONDS)
            if self._waiting.qsize() < MAX_BATCH:
                self._stopping.wait(PAUSE_SECONDS)
            return [first, *self._waiting_now(MAX_BATCH - 1)]
        return []

    def _waiting_now(self, most: int) -> Iterator[Call]:
        with contextlib.suppress(queue.Empty):
            for _ in range(most):
                yield self._waiting.get_nowait()

    def _store(self, batch: list[Call]) -> bool:
        """Returns whether there is nothing left to do about these calls."""
        from extproc.usage.ledger import Refused

        with self._logging_outages() as done:
            ledger = self._open()
            try:
                ledger.add(batch)
                self._stored += len(batch)
            except Refused as error:
                self._store_one_by_one(ledger, batch, error)
            done.set()
        return done.is_set()

    def _store_one_by_one(self, ledger: "Ledger", batch: list[Call], why: Exception) -> None:
        """One call that the database does not take must not cost the others."""
        from extproc.usage.ledger import Refused

        log.error("the ledger does not take a call: %s", why)
        for call in batch:
            try:
                ledger.add([call])
                self._stored += 1
            except Refused:
                self._refused += 1

    def _sweep(self) -> None:
        """Removes what is too old, once in a while."""
        if (now := time.monotonic()) < self._sweep_at:
            return
        self._sweep_at = now + RETRY_SECONDS
        with self._logging_outages():
            self._open().remove_before(round((time.time() - self._retention) * 1000))
            self._sweep_at = now + SWEEP_SECONDS

    def _open(self) -> "Ledger":
        if self._ledger is None:
            self._ledger = self._opened()
        return self._ledger

    @contextlib.contextmanager
    def _logging_outages(self) -> Iterator[Event]:
        """Logs once that the ledger cannot be used, and once that it can again."""
        from extproc.usage.ledger import LedgerDown, Refused

        done = Event()
        try:
            yield done
        except Exception as error:  # noqa: BLE001 - whatever it is, the writer goes on; its text might quote a call
            why = error if isinstance(error, LedgerDown | Refused | OSError) else type(error).__name__
            if not self._is_down:
                log.error("the ledger cannot be used: %s; calls go on, and wait for it", why)
            self._is_down = True
            return
        if self._is_down:
            log.warning("the ledger can be used again; %d calls are missing in it", self.counts().dropped)
        self._is_down = False
