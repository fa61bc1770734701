"""Passes telemetry on to collectors, from a queue of bounded size for each of them.

A collector that is slow or down costs telemetry, which is counted, and never a client: whoever sends has long been
answered.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Literal

import httpx

from extproc.config.schema_telemetry import Signal
from extproc.providers.collectors import Collector

log = logging.getLogger("extproc")

ATTEMPTS = 4
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""
LEAST_BYTES = 100
"""An empty request takes memory, too, while it waits."""
AT_ONCE = 4
"""Requests to one collector that run at the same time."""
_AGAIN = frozenset({429, 502, 503, 504})
"""https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes"""

Result = Literal["sent", "queue_full", "failed", "refused"]
Count = Callable[[str, str], None]
"""Counts a request by its signal and its result."""


def _size(body: bytes) -> int:
    """What a request takes of its queue's bytes."""
    return max(len(body), LEAST_BYTES)


class Relay:
    """One collector's queue, and the tasks that empty it."""

    def __init__(self, collector: Collector, client: httpx.AsyncClient, count: Count) -> None:
        self._collector = collector
        self._client = client
        self._count = count
        self._waiting: deque[tuple[Signal, bytes]] = deque()
        self._bytes = 0
        self._senders: set[asyncio.Task[None]] = set()
        self._down = False

    def put(self, signal: Signal, body: bytes) -> None:
        """Returns at once. Drops what the collector does not want, and what does not fit into the queue."""
        if signal not in self._collector.signals:
            return
        if self._bytes + _size(body) > self._collector.queue_bytes:
            self._count(signal, "queue_full")
            return
        self._waiting.append((signal, body))
        self._bytes += _size(body)
        if len(self._senders) < AT_ONCE:
            sender = asyncio.create_task(self._send_all())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def drained(self) -> None:
        """Returns when nothing waits any more."""
        while self._senders:
            await asyncio.wait(self._senders)

    async def _send_all(self) -> None:
        while self._waiting:
            signal, body = self._waiting.popleft()
            try:
                self._count(signal, await self._send(signal, body))
            finally:
                self._bytes -= _size(body)

    async def _send(self, signal: Signal, body: bytes) -> Result:
        headers = {"content-type": "application/x-protobuf", **self._collector.headers}
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                url, timeout = f"{self._collector.url}/v1/{signal}", self._collector.timeout
                answer = await self._client.post(url, content=body, headers=headers, timeout=timeout)
            except httpx.HTTPError as error:
                problem = type(error).__name__
                continue
            if answer.status_code in _AGAIN:
                problem = str(answer.status_code)
                continue
            self._note(f"answers {answer.status_code}" if answer.status_code >= 400 else "")
            return "sent" if answer.status_code < 400 else "refused"
        self._note(f"cannot be reached ({problem})")
        return "failed"

    def _note(self, problem: str) -> None:
        """Logs once that a collector is gone, and once that it is back."""
        if bool(problem) is not self._down:
            self._down = bool(problem)
            log.warning("telemetry: %s %s", self._collector.place, problem or "is back")
