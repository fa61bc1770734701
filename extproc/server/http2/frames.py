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
MAX_FRAME_BYTES = 1 << 20
"""What we tell the peer it may send; it may still send less."""
_STREAM = 0x7FFF_FFFF

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20


class Setting(IntEnum):
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
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class Broken(Exception):
    """The peer broke the protocol; the connection ends with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Every frame that is complete by now. Raises Broken."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= HEADER_BYTES:
            high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
            length = high << 8 | low
            if length > MAX_FRAME_BYTES:
                raise Broken(Code.FRAME_SIZE_ERROR)
            stop = at + HEADER_BYTES + length
            if stop > end:
                break
            yield Frame(kind, flags, stream & _STREAM, data[at + HEADER_BYTES : stop])
            at = stop
        self._rest = data[at:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*entry) for entry in values.items()))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    if len(payload) % _SETTING.size:
        raise Broken(Code.FRAME_SIZE_ERROR)
    return _SETTING.iter_unpack(payload)


def window_update(stream: int, credit: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _LONG.pack(credit))


def rst_stream(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, _LONG.pack(code))


def goaway(last: int, code: Code) -> bytes:
    return frame(GOAWAY, 0, 0, _LONG.pack(last) + _LONG.pack(code))


def read_long(payload: bytes) -> int:
    """The one number of a WINDOW_UPDATE or RST_STREAM."""
    if len(payload) != _LONG.size:
        raise Broken(Code.FRAME_SIZE_ERROR)
    number: int = _LONG.unpack(payload)[0]
    return number


def unpadded(found: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority."""
    payload, flags = found.payload, found.flags
    if not flags & (PADDED | PRIORITY_FLAG):
        return payload
    padding = 0
    if flags & PADDED:
        padding = payload[0] if payload else 0
        payload = payload[1:]
    if flags & PRIORITY_FLAG and found.kind == HEADERS:
        payload = payload[5:]
    if padding > len(payload):
        raise Broken(Code.PROTOCOL_ERROR)
    return payload[: len(payload) - padding]


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that leaves no trace in the peer's table (https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2)."""
    assert len(name) < 127 and len(value) < 127, "longer ones need another length prefix"
    return b"\x00%c%b%c%b" % (len(name), name, len(value), value)
