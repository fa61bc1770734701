"""Reads a provider's event stream into answer events. It ends complete or failed, and nothing follows either."""

from collections.abc import Callable
from typing import Any, Protocol

from extproc.errors import Rejection
from extproc.translate.answer_events import AnswerEvent, AnswerFailed, AnswerFinished, Keepalive, Warned
from extproc.translate.provider_error import failure
from extproc.wire.lenient import Undecodable, loads
from extproc.wire.sse import BOM, SseDecoder, SseEvent, SseKind

_LAST = (AnswerFinished, AnswerFailed)

Data = Callable[[bytes, str], list[AnswerEvent]]
"""One event's data and name. Raises Undecodable."""


class SseReader:
    def __init__(self, max_event_bytes: int, data: Data, failure_of: Callable[[Any], Rejection]) -> None:
        """`failure_of`: what an error object of the provider's means."""
        self._decoder = SseDecoder(max_event_bytes)
        self._data = data
        self._failure_of = failure_of
        self._over = False
        self._unreadable = False
        """The last data could not be read."""

    def feed(self, data: bytes) -> list[AnswerEvent]:
        return [] if self._over else self._read(self._decoder.feed(data))

    def close(self, truncated: Callable[[], list[AnswerEvent]]) -> list[AnswerEvent]:
        """`truncated`: what it means that the body is at its end without an end of the answer."""
        if self._over:
            return []
        events = self._read(self._decoder.close())
        if not self._over:
            self._over = True
            events += truncated()
        return events

    def _read(self, found: list[SseEvent]) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        for event in found:
            events += self._try(event) if event.kind is SseKind.EVENT else self._other(event)
            if events and isinstance(events[-1], _LAST):
                self._over = True
                break
        return events

    def _other(self, event: SseEvent) -> list[AnswerEvent]:
        if event.kind is SseKind.COMMENT:
            return [Keepalive()]
        return [AnswerFailed(failure("an event of the upstream's stream is too large", "event_limit"))]

    def _try(self, event: SseEvent) -> list[AnswerEvent]:
        try:
            events = self._data(event.data, event.name)
        except Undecodable:
            return self._undecodable(event.data)
        self._unreadable = False
        return events

    def _undecodable(self, data: bytes) -> list[AnswerEvent]:
        """One event that cannot be read is left out; two in a row are an error."""
        if self._unreadable:
            return [AnswerFailed(failure("the upstream's stream cannot be read", "unreadable_stream"))]
        if data[:1] == b"[" and (error := listed_error(data)) is not None:
            return [AnswerFailed(self._failure_of(error))]
        self._unreadable = True
        return [Warned("unreadable_chunk")]


def loads_or_none(data: bytes) -> Any:
    try:
        return loads(data)
    except Undecodable:
        return None


def listed_error(data: bytes) -> Any:
    """Gemini's errors come in a list of one."""
    value = loads_or_none(data)
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, dict) and first.get("error") else None


MAX_ANSWER = 32 * 1024 * 1024


class Reader(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...


class Sniffer:
    """Chooses one of two readers with the first visible byte."""

    def __init__(self, content_type: str, events: Callable[[], Reader], whole: Callable[[], Reader]) -> None:
        self._says_events = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        self._events = events
        self._whole = whole
        self._reader: Reader | None = None
        self._begin = b""

    def feed(self, data: bytes) -> bytes:
        if self._reader is None:
            data = self._begin + data
            # Some upstreams send blank lines while a client waits for JSON.
            visible = data.removeprefix(BOM).lstrip()
            if not visible or BOM.startswith(data):
                self._begin = data if BOM.startswith(data) else b""
                return b""
            begins_events = visible[:1] in b":deir" or (self._says_events and visible[:1] not in b"{[<")
            self._reader, data = (self._events if begins_events else self._whole)(), visible
        return self._reader.feed(data)

    def close(self) -> bytes:
        if self._reader is None:
            self._reader = (self._events if self._says_events else self._whole)()
        return self._reader.close()


class Collected:
    """JSON, or what ought to be: nothing is read of it before its end."""

    def __init__(self, read: Callable[[bytes], bytes], too_large: Callable[[], bytes]) -> None:
        self._read = read
        self._too_large = too_large
        self._pieces: list[bytes] = []
        self._size = 0
        self._over = False

    def feed(self, data: bytes) -> bytes:
        if self._over:
            return b""
        self._pieces.append(data)
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            return b""
        self._over = True
        self._pieces.clear()
        return self._too_large()

    def close(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        body = b"".join(self._pieces)
        self._pieces.clear()
        return self._read(body)
