"""Sends the records of calls to the supervisor, which keeps the ledger: where that does not see the log of its Envoy.

A thread writes them, since the supervisor may be slow to read, and no call may wait for that.
"""

import queue
from datetime import UTC, datetime
from threading import Thread

import msgspec

from extproc.events import Record
from extproc.gateway import record
from extproc.transport import orders
from extproc.usage.calls import is_kept

MAX_WAITING = 10_000
WAIT_SECONDS = 60.0
_CALL, _DROPPED = "call ", "calls-dropped "

_encode = msgspec.json.Encoder().encode


class UsageSender:
    """One per worker."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        self._thread = Thread(target=self._run, daemon=True, name="usage")
        self._thread.start()

    def send(self, seen: Record, started: float, now: float) -> None:
        """A call is over. `seen`: all that was put on record of it, as it may be logged; times are Unix seconds."""
        if not is_kept(seen):
            return
        times = {"time": datetime.fromtimestamp(started, UTC).isoformat(), "duration": round((now - started) * 1000)}
        try:
            self._waiting.put_nowait(_encode({**seen, **times, "reason": record.reason(seen)}))
        except queue.Full:
            self._dropped += 1

    def close(self, seconds: float) -> None:
        """Sends what waits, within so many seconds."""
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            lines = [f"{_CALL}{first.decode()}"] + ([f"{_DROPPED}{dropped}"] if dropped else [])
            try:
                # While the pipe is full nobody may hold the right to write to it: the event loop writes lines, too.
                while not orders.can_say(WAIT_SECONDS):
                    pass
                orders.write_lines(*lines)
            except OSError:  # the supervisor is gone, and this worker will be in a moment
                return


def parse_call(line: str) -> str | None:
    """The record in a line of a worker, as JSON; None for any other line."""
    return line.removeprefix(_CALL) if line.startswith(_CALL) else None


def parse_dropped(line: str) -> int:
    """Returns the number of calls that a worker could not send, from its line; 0 for any other line."""
    return int(line.removeprefix(_DROPPED)) if line.startswith(_DROPPED) else 0
