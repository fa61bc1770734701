"""AWS event streams (`application/vnd.amazon.eventstream`): frames written, and read with both checksums.

A frame is a prelude (its length, the length of its headers, a CRC-32 of the two), headers, a payload, and a CRC-32 of
all before it: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream and
https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
from collections.abc import Mapping
from zlib import crc32

import msgspec

CONTENT_TYPE = "application/vnd.amazon.eventstream"
HEADERS_LIMIT = 128 * 1024
"""In bytes; AWS's own limit."""

HeaderValue = bool | int | bytes | str
"""Timestamps are milliseconds since 1970, UUIDs are bytes."""

_LENGTHS = struct.Struct("!II")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_PRELUDE = 12
_LEAST = 16
_TRUE, _FALSE, _BYTES, _TEXT, _UUID = 0, 1, 6, 7, 9
_INTEGERS = {2: 1, 3: 2, 4: 4, 5: 8, 8: 8}
"""Bytes of a value by its type: byte, short, integer, long, timestamp."""


class Message(msgspec.Struct, frozen=True, gc=False):
    headers: Mapping[str, HeaderValue]
    payload: bytes


class Corrupt(msgspec.Struct, frozen=True, gc=False):
    """The last that a decoder returns of a stream which it cannot read on."""

    reason: str
    """Quotes nothing of the stream but lengths and type numbers."""


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Returns one frame; all headers are strings. Raises struct.error or ValueError for names and values that are too
    long for a frame (255 and 65,535 bytes)."""
    block = b"".join(_text_header(name.encode(), value.encode()) for name, value in headers.items())
    prelude = _LENGTHS.pack(_LEAST + len(block) + len(payload), len(block))
    frame = b"".join((prelude, _U32.pack(crc32(prelude)), block, payload))
    return frame + _U32.pack(crc32(frame))


def _text_header(name: bytes, value: bytes) -> bytes:
    return b"".join((bytes((len(name),)), name, bytes((_TEXT,)), _U16.pack(len(value)), value))


class EventStreamDecoder:
    """Decodes bytes into messages, however they are cut. `limit`: bytes of the longest frame."""

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._length = 0
        """The length of the frame that is awaited; 0 until its prelude is here."""
        self._headers_length = 0
        self._dead = False

    def feed(self, data: bytes) -> list[Message | Corrupt]:
        """Returns the messages that these bytes complete. After `Corrupt` there are no more."""
        found: list[Message | Corrupt] = []
        if self._dead:
            return found
        self._buffer += data
        try:
            while self._has_frame():
                found.append(self._take_frame())
        except _Unreadable as error:
            self._end()
            found.append(Corrupt(error.reason))
        return found

    def close(self) -> list[Message | Corrupt]:
        """Returns `Corrupt` where the body ended within a frame."""
        cut = bool(self._buffer)
        self._end()
        return [Corrupt("the stream ends within a frame")] if cut else []

    def _end(self) -> None:
        self._dead = True
        self._buffer = bytearray()

    def _has_frame(self) -> bool:
        if not self._length and len(self._buffer) >= _PRELUDE:
            self._read_prelude()
        return 0 < self._length <= len(self._buffer)

    def _read_prelude(self) -> None:
        """The lengths are checked before anything is kept for them."""
        prelude = bytes(self._buffer[:_PRELUDE])
        length, headers_length = _LENGTHS.unpack_from(prelude)
        if crc32(prelude[:8]) != _U32.unpack_from(prelude, 8)[0]:
            raise _Unreadable("the checksum of a prelude is wrong")
        if length < _LEAST:
            raise _Unreadable(f"a frame of {length} bytes, which is too short")
        if headers_length > HEADERS_LIMIT:
            raise _Unreadable(f"headers of {headers_length} bytes, more than {HEADERS_LIMIT}")
        if headers_length > length - _LEAST:
            raise _Unreadable(f"headers of {headers_length} bytes in a frame of {length}")
        if length > self._limit:
            raise _Unreadable(f"a frame of {length} bytes, more than {self._limit}")
        self._length, self._headers_length = length, headers_length

    def _take_frame(self) -> Message:
        frame = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        payload_at = _PRELUDE + self._headers_length
        self._length = 0
        if crc32(memoryview(frame)[:-4]) != _U32.unpack_from(frame, len(frame) - 4)[0]:
            raise _Unreadable("the checksum of a frame is wrong")
        return Message(_read_headers(frame[_PRELUDE:payload_at]), frame[payload_at:-4])


class _Unreadable(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _read_headers(block: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    position = 0
    try:
        while position < len(block):
            name_end = position + 1 + block[position]
            name = block[position + 1 : name_end].decode()
            value, position = _read_value(block, name_end + 1, block[name_end])
            if name in headers:
                raise _Unreadable("a header twice")
            headers[name] = value
    except UnicodeDecodeError as error:
        raise _Unreadable("a header that is not UTF-8") from error
    except (IndexError, struct.error) as error:
        raise _Unreadable("the headers are not as their lengths say") from error
    return headers


def _read_value(block: bytes, position: int, kind: int) -> tuple[HeaderValue, int]:
    """Returns a value and where the next header begins. Raises IndexError where the block ends before it."""
    # The type is the value, which has no bytes.
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, position
    if kind in (_BYTES, _TEXT):
        position += 2
        size = _U16.unpack_from(block, position - 2)[0]
    elif kind in _INTEGERS or kind == _UUID:
        size = _INTEGERS.get(kind, 16)
    else:
        raise _Unreadable(f"a header of the unknown type {kind}")
    end = position + size
    if end > len(block):
        raise IndexError
    value = block[position:end]
    if kind in _INTEGERS:
        return int.from_bytes(value, "big", signed=True), end
    return value.decode() if kind == _TEXT else value, end
