"""Frames (https://www.rfc-editor.org/rfc/rfc9113#section-4) from bytes and to bytes."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_HEADER = struct.Struct(">HBBBL")
_LONG = struct.Struct(">L")
_SETTING = struct.Struct(">HL")
HEADER_BYTES = 9
DEFAULT_FRAME_BYTES = 16_384
MAX_FRAME_BYTES = DEFAULT_FRAME_BYTES
"""The default, which Envoy does not exceed even where it may."""
LARGEST_FRAME_BYTES = (1 << 24) - 1
MAX_WINDOW = MAX_STREAM = (1 << 31) - 1
MAX_SETTINGS = 32
"""Entries of one SETTINGS frame; RFC 9113 defines six, and Envoy sends five."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20


class Setting(IntEnum):
    """https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2"""

    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class Code(IntEnum):
    """https://www.rfc-editor.org/rfc/rfc9113#section-7"""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFailed(Exception):
    """A connection error: the connection ends with this code
    (https://www.rfc-editor.org/rfc/rfc9113#section-5.4.1)."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class StreamFailed(Exception):
    """A stream error: the stream is reset with this code, the connection goes on
    (https://www.rfc-editor.org/rfc/rfc9113#section-5.4.2)."""

    def __init__(self, stream: int, code: Code) -> None:
        super().__init__(code.name)
        self.stream = stream
        self.code = code


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    def __init__(self) -> None:
        self._buffer = bytearray()
        """The beginning of a frame."""
        self._needed = 0
        """Parse the buffer when it has this many bytes: each byte of a frame that trickles in is copied once."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields every frame that is complete by now. Raises ConnectionFailed."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        at, end = 0, len(data)
        needed = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
            length = high << 8 | low
            if length > MAX_FRAME_BYTES:
                raise ConnectionFailed(Code.FRAME_SIZE_ERROR)
            stop = at + HEADER_BYTES + length
            if stop > end:
                needed = HEADER_BYTES + length
                break
            # The highest bit of the stream's number is reserved, and must be ignored: RFC 9113, section 4.1.
            yield Frame(kind, flags, stream & MAX_STREAM, data[at + HEADER_BYTES : stop])
            at = stop
        self._buffer += data[at:]
        self._needed = needed


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*entry) for entry in values.items()))


def read_settings(found: Frame) -> dict[int, int]:
    """The last value of each setting; empty for an acknowledgement. Raises ConnectionFailed."""
    size = len(found.payload)
    if found.stream:
        raise ConnectionFailed(Code.PROTOCOL_ERROR)
    if size % _SETTING.size or (found.flags & ACK and size):
        raise ConnectionFailed(Code.FRAME_SIZE_ERROR)
    if size > MAX_SETTINGS * _SETTING.size:
        raise ConnectionFailed(Code.ENHANCE_YOUR_CALM)
    values: dict[int, int] = {}
    for key, value in _SETTING.iter_unpack(found.payload):
        _check_setting(key, value)
        values[key] = value
    return values


def _check_setting(key: int, value: int) -> None:
    # The bounds of each setting: https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2. Unknown ones are ignored.
    if key == Setting.ENABLE_PUSH and value > 1:
        raise ConnectionFailed(Code.PROTOCOL_ERROR)
    if key == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
        raise ConnectionFailed(Code.FLOW_CONTROL_ERROR)
    if key == Setting.MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value <= LARGEST_FRAME_BYTES:
        raise ConnectionFailed(Code.PROTOCOL_ERROR)


def window_update(stream: int, credit: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _LONG.pack(credit))


def rst_stream(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, _LONG.pack(code))


def goaway(last: int, code: Code) -> bytes:
    return frame(GOAWAY, 0, 0, _LONG.pack(last) + _LONG.pack(code))


def read_long(payload: bytes) -> int:
    """The one number of a WINDOW_UPDATE or RST_STREAM. Raises ConnectionFailed."""
    if len(payload) != _LONG.size:
        raise ConnectionFailed(Code.FRAME_SIZE_ERROR)
    number: int = _LONG.unpack(payload)[0]
    return number


def unpadded(found: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority. Raises ConnectionFailed."""
    payload, flags = found.payload, found.flags
    # Deprecated with the frames of that name, but five bytes of a HEADERS frame all the same.
    has_priority = flags & PRIORITY_FLAG and found.kind == HEADERS
    start = (1 if flags & PADDED else 0) + (5 if has_priority else 0)
    if start > len(payload):
        raise ConnectionFailed(Code.FRAME_SIZE_ERROR)
    padding = payload[0] if flags & PADDED else 0
    if padding > len(payload) - start:
        raise ConnectionFailed(Code.PROTOCOL_ERROR)
    return payload[start : len(payload) - padding]


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that leaves no trace in the peer's table (https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2)."""
    assert len(name) < 127 and len(value) < 127, "longer ones need another length prefix"
    return b"\x00%c%b%c%b" % (len(name), name, len(value), value)
