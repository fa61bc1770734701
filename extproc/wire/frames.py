"""Server-sent events as the bytes they came in: for streams that pass, and are cut only between events."""

import re
from collections.abc import Iterator

import msgspec

from extproc.wire import untrusted

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
