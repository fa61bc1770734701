"""Reads a provider's event stream into answer events. It ends complete or failed, and nothing follows either."""

from collections.abc import Callable
from typing import Any

from extproc.errors import Rejection
from extproc.translate.answer_events import AnswerEvent, AnswerFailed, AnswerFinished, Keepalive, Warned
from extproc.translate.provider_error import failure
from extproc.wire.lenient import Undecodable, loads
from extproc.wire.sse import SseDecoder, SseEvent, SseKind

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
