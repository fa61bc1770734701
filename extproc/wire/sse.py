"""Server-sent events, decoded from bytes, or kept as the bytes that they came in
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

The events do not depend on how the bytes are cut into pieces.
"""

import re
from collections.abc import Iterator
from enum import Enum

import msgspec

from extproc.wire import untrusted

# May stand at the beginning of a stream, and is no part of its first line.
BOM = b"\xef\xbb\xbf"


class SseKind(Enum):
    EVENT = "event"
    COMMENT = "comment"
    OVERFLOW = "overflow"
    """Name of the last event after a line or an event over the limit; the decoder returns nothing after it."""


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    name: str = ""
    kind: SseKind = SseKind.EVENT


OVERFLOW = SseEvent(b"", kind=SseKind.OVERFLOW)


class SseDecoder:
    """Decodes bytes into events. As the standard demands, an event without data is not dispatched."""

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        """Pieces of the line that has not ended yet. They are joined once, so that a long line takes linear time."""
        self._pieces_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._name = b""
        self._after_cr = False
        self._first = True
        self._dead = False

    def feed(self, data: bytes) -> list[SseEvent]:
        # The piece before ended with CR. An LF now is the other half of a CRLF, not an empty line, which would end the
        # event.
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data or self._dead:
            return []
        # For bytes these are the standard's line ends; a `str` would be split at U+2028 and others, too, which JSON may
        # hold unescaped: https://docs.python.org/3/library/stdtypes.html#str.splitlines.
        lines = data.splitlines()
        tail = b"" if data[-1] in b"\r\n" else lines.pop()
        self._after_cr = data[-1] == 0x0D
        if lines and self._pieces:
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._pieces.clear()
            self._pieces_size = 0
        events = self._lines(lines)
        self._keep(tail, events)
        return events

    def close(self) -> list[SseEvent]:
        """Ends the last line at the end of the body, and returns the events that it completes."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        # The standard drops an event without its blank line at the end; a provider's last word would be lost with it.
        return [] if self._dead else self._lines([rest, b""] if rest else [b""])

    def _keep(self, tail: bytes, events: list[SseEvent]) -> None:
        if not tail or self._dead:
            return
        self._pieces.append(tail)
        self._pieces_size += len(tail)
        if self._pieces_size > self._limit:
            self._overflow(events)

    def _overflow(self, events: list[SseEvent]) -> None:
        self._dead = True
        self._pieces.clear()
        self._data.clear()
        events.append(OVERFLOW)

    def _lines(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        if lines and self._first:
            self._first = False
            if len(lines[0]) <= self._limit:
                # Only at the very beginning of a stream is it no part of the data.
                lines[0] = lines[0].removeprefix(BOM)
        for line in lines:
            if not line and self._data_size <= self._limit:
                self._dispatch(events)
            elif len(line) > self._limit or self._data_size > self._limit:
                self._overflow(events)
                break
            elif line[0] == 0x3A:
                events.append(SseEvent(line[1:].strip(), kind=SseKind.COMMENT))
            else:
                self._field(line)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name in (b"data", b"error"):
            # llama.cpp sends an error as a line `error: {...}` without data.
            self._name = name if name == b"error" else self._name
            value = value[1:] if value[:1] == b" " else value
            self._data.append(value)
            self._data_size += len(value)
        elif name == b"event":
            self._name = value.strip()

    def _dispatch(self, events: list[SseEvent]) -> None:
        data, name = self._data, self._name
        self._name = b""
        if not data:
            return
        whole = data[0] if len(data) == 1 else b"\n".join(data)
        data.clear()
        self._data_size = 0
        if whole:
            events.append(SseEvent(whole, name.decode("utf-8", "replace") if name else ""))


# Streams that pass, and are cut only between events

# JSON holds no bare line ends, so every one of them is the framing's. A CR at the very end may be half of a CRLF.
_LINE_END = rb"(?>\r\n|\n|\r(?!\Z))"
_raw = untrusted.decoder(msgspec.Raw)
_BLANK = re.compile(_LINE_END + _LINE_END)


class Frames:
    """Cuts a stream between events: returns bytes up to the last end of an event, and keeps the rest."""

    __slots__ = ("_searched", "_tail")

    def __init__(self) -> None:
        self._tail = bytearray()
        self._searched = 0
        """Bytes of the tail that are known to hold no end of an event."""

    def feed(self, data: bytes) -> bytes:
        if not self._tail and data.endswith(b"\n\n"):
            return data
        self._tail += data
        end = _last_end(self._tail, self._searched)
        whole = bytes(self._tail[:end])
        del self._tail[:end]
        self._searched = max(0, len(self._tail) - 3)
        return whole

    def rest(self) -> bytes:
        """Returns what is left at the end of the body: an event without its blank line, or a part of one."""
        rest = bytes(self._tail)
        self._tail.clear()
        return rest

    @property
    def waiting(self) -> int:
        return len(self._tail)


def _last_end(data: bytearray, start: int) -> int:
    if data.find(b"\r", start) < 0:
        return data.rfind(b"\n\n", start) + 2 if data.find(b"\n\n", start) >= 0 else 0
    return max((found.end() for found in _BLANK.finditer(data, start)), default=0)


def split(whole: bytes) -> Iterator[bytes]:
    """Yields each event with the blank line that ends it; joined they are `whole`."""
    if b"\r" not in whole:
        *events, rest = whole.split(b"\n\n")
        yield from (event + b"\n\n" for event in events)
        if rest:
            yield rest
        return
    start = 0
    for found in _BLANK.finditer(whole + b"\n"):
        yield whole[start : found.end()]
        start = found.end()
    if start < len(whole):
        yield whole[start:]


def fields(event: bytes) -> tuple[bytes, bytes]:
    """Returns name and data of an event, each may be empty. A line `error: {...}` (llama.cpp) is an error event."""
    name, data = b"", []
    for line in event.splitlines():
        field, _, value = line.partition(b":")
        if field in (b"data", b"error"):
            name = field if field == b"error" else name
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
    return name, data[0] if len(data) == 1 else b"\n".join(data)


def is_data(data: bytes) -> bool:
    """Returns whether the data is complete: JSON, or `[DONE]`."""
    if data.startswith(b"[DONE]"):
        return True
    try:
        _raw.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
