"""Frames as botocore reads them, and every cut of the bytes gives the same messages."""

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.event_stream import Corrupt, EventStreamDecoder, Message, encode

TEXTS = st.text(max_size=40)
NAMES = st.text(min_size=1, max_size=20)
CHUNK = encode({":message-type": "event", ":event-type": "chunk"}, b'{"bytes":"e30="}')


def frame(headers: bytes, payload: bytes = b"") -> bytes:
    """Returns a frame with headers that the encoder does not write."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    head = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return head + struct.pack("!I", zlib.crc32(head))


def header(name: bytes, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name + bytes([kind]) + value


def decode(*pieces: bytes, limit: int = 1000) -> list[Message | Corrupt]:
    decoder = EventStreamDecoder(limit)
    return [*(message for piece in pieces for message in decoder.feed(piece)), *decoder.close()]


def bytewise(raw: bytes, limit: int = 1000) -> list[Message | Corrupt]:
    return decode(*(raw[n : n + 1] for n in range(len(raw))), limit=limit)


def read_by_botocore(raw: bytes) -> list[tuple[dict[str, object], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    return [(message.headers, message.payload) for message in buffer]


EVERY_TYPE = b"".join(
    (
        header(b"yes", 0, b""),
        header(b"no", 1, b""),
        header(b"byte", 2, b"\xff"),
        header(b"short", 3, b"\x80\x00"),
        header(b"int", 4, b"\x00\x00\x01\x00"),
        header(b"long", 5, b"\xff" * 8),
        header(b"bytes", 6, b"\x00\x02\xff\x00"),
        header(b"text", 7, b"\x00\x02\xc3\xa9"),
        header(b"time", 8, b"\x00\x00\x01\x93\x00\x00\x00\x00"),
        header(b"uuid", 9, bytes(range(16))),
    )
)


@given(st.lists(st.tuples(st.dictionaries(NAMES, TEXTS, max_size=4), st.binary(max_size=100)), max_size=4))
def test_botocore_reads_what_is_encoded(messages: list[tuple[dict[str, str], bytes]]) -> None:
    raw = b"".join(encode(headers, payload) for headers, payload in messages)
    assert read_by_botocore(raw) == messages


@given(st.lists(st.tuples(st.dictionaries(NAMES, TEXTS, max_size=3), st.binary(max_size=30)), max_size=3))
def test_every_cut_gives_the_same_messages(messages: list[tuple[dict[str, str], bytes]]) -> None:
    raw = b"".join(encode(headers, payload) for headers, payload in messages)
    expected = [Message(headers, payload) for headers, payload in messages]
    assert decode(raw) == bytewise(raw) == expected
    assert all(decode(raw[:cut], raw[cut:]) == expected for cut in range(len(raw)))


def test_reads_every_type_of_header_as_botocore_does() -> None:
    raw = frame(EVERY_TYPE, b"payload")
    [(headers, payload)] = read_by_botocore(raw)
    assert decode(raw) == bytewise(raw) == [Message(headers, payload)]  # type: ignore[arg-type]
    assert len(headers) == 10


@pytest.mark.parametrize("position", range(len(CHUNK)))
def test_a_changed_byte_is_noticed_and_ends_the_stream(position: int) -> None:
    broken = CHUNK[:position] + bytes([CHUNK[position] ^ 1]) + CHUNK[position + 1 :]
    for read in (decode, bytewise):
        first, last = read(CHUNK + broken + CHUNK)
        assert isinstance(first, Message)
        assert isinstance(last, Corrupt)


@pytest.mark.parametrize("length", range(1, len(CHUNK)))
def test_a_cut_frame_is_noticed_at_the_end(length: int) -> None:
    first, last = bytewise(CHUNK + CHUNK[:length])
    assert isinstance(first, Message)
    assert last == Corrupt("the stream ends within a frame")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (encode({}, b"x" * 85), "a frame of 101 bytes, more than 100"),
        (struct.pack("!III", 15, 0, zlib.crc32(struct.pack("!II", 15, 0))), "a frame of 15 bytes, which is too short"),
        (struct.pack("!III", 20, 5, zlib.crc32(struct.pack("!II", 20, 5))), "headers of 5 bytes in a frame of 20"),
        (frame(header(b"a", 7, b"\x00\x05abc")), "the headers are not as their lengths say"),
        (frame(header(b"a", 4, b"\x00")), "the headers are not as their lengths say"),
        (frame(b"\x05ab"), "the headers are not as their lengths say"),
        (frame(header(b"a", 10, b"")), "a header of the unknown type 10"),
        (frame(header(b"a", 0, b"") * 2), "a header twice"),
        (frame(header(b"\xff", 0, b"")), "a header that is not UTF-8"),
        (frame(header(b"a", 7, b"\x00\x01\xff")), "a header that is not UTF-8"),
    ],
)
def test_refuses_what_is_no_frame(raw: bytes, reason: str) -> None:
    assert decode(raw, limit=100) == bytewise(raw, limit=100) == [Corrupt(reason)]


def test_a_length_over_the_limit_is_refused_before_the_frame_has_come() -> None:
    assert EventStreamDecoder(limit=100).feed(encode({}, b"x" * 100)[:12]) == [
        Corrupt("a frame of 116 bytes, more than 100")
    ]


def test_headers_have_a_bound_of_their_own() -> None:
    prelude = struct.pack("!II", 300_000, 200_000)
    decoder = EventStreamDecoder()
    assert decoder.feed(prelude + struct.pack("!I", zlib.crc32(prelude))) == [
        Corrupt("headers of 200000 bytes, more than 131072")
    ]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_give_messages_or_a_reason(raw: bytes, size: int) -> None:
    pieces = [raw[n : n + size] for n in range(0, len(raw), size)]
    assert decode(*pieces) == decode(raw) == bytewise(raw)
