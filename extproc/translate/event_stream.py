"""Reading an upstream's event stream. Two ways out: complete, or failed. Nothing follows either."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

from extproc.errors import Rejection
from extproc.translate.failures import failure
from extproc.translate.pair import Outcome
from extproc.translate.sniff import MAX_ANSWER
from extproc.wire.lenient import Undecodable, loads
from extproc.wire.sse import SseDecoder, SseEvent, SseKind


class Out(Protocol):
    """What a stream needs of the place where its answer goes."""

    def fail(self, rejection: Rejection) -> None: ...
    def take(self) -> bytes: ...


class EventStream(ABC):
    """Bytes of events in, bytes of the answer out."""

    def __init__(self, out: Out, outcome: Outcome, max_event_bytes: int) -> None:
        self._out = out
        self._outcome = outcome
        self._sse = SseDecoder(max_event_bytes)
        self._over = False
        self._unreadable = False
        """The last data could not be read."""

    def feed(self, data: bytes) -> bytes:
        if not self._over:
            self._read(self._sse.feed(data))
        return self._out.take()

    def close(self) -> bytes:
        if not self._over:
            self._read(self._sse.close())
        if not self._over:
            self._body_ended()
        return self._out.take()

    @abstractmethod
    def _data(self, data: bytes, name: str) -> None:
        """One event. Raises Undecodable."""

    @abstractmethod
    def _body_ended(self) -> None: ...

    @abstractmethod
    def _measure(self) -> int:
        """Keeps the outcome true at any moment; returns the answer's size so far."""

    @abstractmethod
    def _reported(self, value: Any) -> Rejection:
        """The failure that an error object speaks of."""

    def _read(self, events: list[SseEvent]) -> None:
        for event in events:
            if self._over:
                return
            self._event(event)
        if self._measure() > MAX_ANSWER and not self._over:
            self._fail(failure("the upstream's answer is too large", "answer_limit"))

    def _event(self, event: SseEvent) -> None:
        match event.kind:
            case SseKind.COMMENT:
                self._outcome.stirred = True
            case SseKind.OVERFLOW:
                self._fail(failure("an event of the upstream's stream is too large", "event_limit"))
            case SseKind.EVENT:
                self._try(event)

    def _try(self, event: SseEvent) -> None:
        try:
            self._data(event.data, event.name)
        except Undecodable:
            self._skip(event.data)
        else:
            self._unreadable = False

    def _skip(self, data: bytes) -> None:
        if self._unreadable:
            self._fail(failure("the upstream's stream cannot be read", "unreadable_stream"))
        elif data[:1] == b"[" and (error := listed_error(data)) is not None:
            self._fail(self._reported(error))
        else:
            self._unreadable = True
            self._warn("unreadable_chunk")

    @abstractmethod
    def _warn(self, word: str) -> None: ...

    def _fail(self, rejection: Rejection) -> None:
        self._over = True
        self._measure()
        self._outcome.failure = rejection
        self._out.fail(rejection)


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
