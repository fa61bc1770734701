"""Server-sent events, decoded from bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The events do not depend on how the bytes are cut into pieces.
"""

from enum import Enum

import msgspec

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
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data or self._dead:
            return []
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
