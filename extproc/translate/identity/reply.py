"""An answer that passes in the form it came in, and is metered on the way."""

from extproc.translate.failures import failure
from extproc.translate.identity.asked import Passed
from extproc.translate.identity.events import Events
from extproc.translate.identity.meter import Meter
from extproc.translate.sniff import Collected, Reader, Sniffer
from extproc.wire import Dialect, dialects
from extproc.wire.messages import KEEP_ALIVE

EVENTS, JSON = "text/event-stream; charset=utf-8", "application/json"


class PassedReply:
    def __init__(self, asked: Passed, content_type: str, meter: Meter, dialect: Dialect) -> None:
        self.outcome = meter.outcome
        self._asked = asked
        self._meter = meter
        self._ping = dialects.row(dialect).ping
        self._reader = Sniffer(content_type, self._events, self._whole)

    def feed(self, data: bytes) -> bytes:
        out = self._reader.feed(data)
        self.outcome.begun = self._meter.begun and self.outcome.media == EVENTS
        return out

    def close(self) -> bytes:
        return self._reader.close()

    def ping(self) -> bytes:
        over = self.outcome.complete or self.outcome.failure is not None
        if over or self.outcome.media == JSON or not self._asked.stream:
            return b""
        return self._ping if self._meter.begun else KEEP_ALIVE

    def _events(self) -> Reader:
        self.outcome.media = EVENTS
        return Events(self._meter, self._asked)

    def _whole(self) -> Reader:
        self.outcome.media = JSON
        return Collected(self._read, self._too_large)

    def _read(self, body: bytes) -> bytes:
        self._meter.whole(body)
        return body if self.outcome.failure is None else b""

    def _too_large(self) -> bytes:
        self.outcome.failure = failure("the upstream's answer is too large", "answer_limit")
        return b""
