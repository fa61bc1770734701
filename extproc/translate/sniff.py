"""In which form an upstream's answer came: its media type is a hint, what the body begins with decides."""

from collections.abc import Callable
from typing import Protocol

from extproc.wire.sse import BOM

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
