"""The body of a provider's answer of status 200: an event stream, read into answer events, or JSON, which is collected.

Its media type is a hint; what the body begins with decides. An answer ends complete or failed, and nothing follows
either.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from extproc.errors import Rejection
from extproc.translate.answer_events import AnswerEvent, AnswerFailed, AnswerFinished, Keepalive, Warned
from extproc.translate.pair import Outcome
from extproc.translate.provider_error import failure
from extproc.wire.lenient import Undecodable, loads
from extproc.wire.sse import BOM, SseDecoder, SseEvent, SseKind

# An answer in one piece is kept whole until its end; a stream is not.
MAX_ANSWER = 32 * 1024 * 1024
_LAST = (AnswerFinished, AnswerFailed)

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class SseReader(ABC):
    """An AnswerReader (translated.py). A dialect's own says what its events mean."""

    def __init__(self, max_event_bytes: int) -> None:
        self._decoder = SseDecoder(max_event_bytes)
        self._over = False
        self._unreadable = False
        """The last data could not be read."""

    @abstractmethod
    def read_event(self, data: bytes, name: str) -> list[AnswerEvent]:
        """Reads an event's data. `name`: the event's, which may be empty. Raises Undecodable."""

    @abstractmethod
    def rejection_of(self, value: Any) -> Rejection:
        """Returns what an error object of the provider's means."""

    @abstractmethod
    def truncated(self) -> list[AnswerEvent]:
        """Returns what it means that the body is at its end without an end of the answer."""

    def feed(self, data: bytes) -> list[AnswerEvent]:
        return [] if self._over else self._read(self._decoder.feed(data))

    def close(self) -> list[AnswerEvent]:
        if self._over:
            return []
        events = self._read(self._decoder.close())
        if not self._over:
            self._over = True
            events += self.truncated()
        return events

    def _read(self, found: list[SseEvent]) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        for event in found:
            if event.kind is SseKind.EVENT:
                try:
                    events += self.read_event(event.data, event.name)
                    self._unreadable = False
                except Undecodable:
                    events += self._undecodable(event.data)
            elif event.kind is SseKind.COMMENT:
                events.append(Keepalive())
            else:
                too_large = failure("an event of the upstream's stream is too large", "event_limit")
                events.append(AnswerFailed(too_large))
            if events and isinstance(events[-1], _LAST):
                self._over = True
                break
        return events

    def _undecodable(self, data: bytes) -> list[AnswerEvent]:
        """One event that cannot be read is left out; two in a row are an error."""
        if self._unreadable:
            return [AnswerFailed(failure("the upstream's stream cannot be read", "unreadable_stream"))]
        if data[:1] == b"[" and (error := listed_error(data)) is not None:
            return [AnswerFailed(self.rejection_of(error))]
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


class Reader(Protocol[R_co]):
    """Reads a body piece by piece."""

    def feed(self, data: bytes) -> R_co: ...
    def close(self) -> R_co: ...


class Sniffer(Generic[T]):
    """Chooses one of two readers with the first visible byte."""

    def __init__(
        self, content_type: str, events: Callable[[], Reader[T]], whole: Callable[[], Reader[T]], nothing: T
    ) -> None:
        """`nothing`: what a piece gives before the first visible byte."""
        self.reader: Reader[T] | None = None
        """The one that was chosen, which may be fed itself."""
        self._says_events = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        self._events = events
        self._whole = whole
        self._nothing = nothing
        self._begin = b""

    def feed(self, data: bytes) -> T:
        if self.reader is None:
            data = self._begin + data
            # Some upstreams send blank lines while a client waits for JSON.
            visible = data.removeprefix(BOM).lstrip()
            if not visible or BOM.startswith(data):
                self._begin = data if BOM.startswith(data) else b""
                return self._nothing
            # Fields of an event begin with `data`, `event`, `id` or `retry`, a comment with a colon; `error:` is
            # llama.cpp's.
            begins_events = visible[:1] in b":deir" or (self._says_events and visible[:1] not in b"{[<")
            self.reader, data = (self._events if begins_events else self._whole)(), visible
        return self.reader.feed(data)

    def close(self) -> T:
        if self.reader is None:
            self.reader = (self._events if self._says_events else self._whole)()
        return self.reader.close()


class Collected(Generic[T]):
    """JSON, or what ought to be: nothing is read of it before its end."""

    def __init__(self, read: Callable[[bytes], T], too_large: Callable[[], T], nothing: T) -> None:
        """`nothing`: what a piece gives that is not the end."""
        self._read = read
        self._too_large = too_large
        self._nothing = nothing
        self._pieces: list[bytes] = []
        self._size = 0
        self._over = False

    def feed(self, data: bytes) -> T:
        if self._over:
            return self._nothing
        self._pieces.append(data)
        # Envoy bounds bodies of requests only.
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            return self._nothing
        self._over = True
        self._pieces.clear()
        return self._too_large()

    def close(self) -> T:
        if self._over:
            return self._nothing
        self._over = True
        body = b"".join(self._pieces)
        self._pieces.clear()
        return self._read(body)


class WholeReply:
    """A Reply (pair.py) of which nothing goes out before the provider's whole answer is here."""

    def __init__(self, body: Reader[bytes]) -> None:
        self.outcome = Outcome()
        self._body = body

    def feed(self, data: bytes) -> bytes:
        return self._body.feed(data)

    def close(self) -> bytes:
        return self._body.close()

    def ping(self) -> bytes:
        return b""

    def collected(self, read: Callable[[bytes], bytes], too_large: str) -> Reader[bytes]:
        """Returns a reader that gives the body to `read`. `too_large`: what is said of a body beyond MAX_ANSWER."""
        return Collected(read, lambda: self.fail(failure(too_large, "answer_limit")), b"")

    def fail(self, rejection: Rejection) -> bytes:
        """Nothing has gone out, so the status can say it."""
        self.outcome.failure = rejection
        return b""
