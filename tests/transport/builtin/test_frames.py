"""Frames as bytes: cut anywhere, padded, malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.transport.builtin import frames
from extproc.transport.builtin.frames import Code, ConnectionFailed, Frame, FrameReader, Setting

SENT = [
    Frame(frames.HEADERS, frames.END_HEADERS, 1, b"block"),
    Frame(frames.DATA, 0, 1, b"x" * 16_384),
    Frame(frames.DATA, frames.END_STREAM, 2**31 - 1, b""),
    Frame(frames.PING, 0, 0, b"12345678"),
]
BYTES = b"".join(frames.frame(*one) for one in SENT)


def test_frames_cut_anywhere_are_the_same_frames() -> None:
    for cut in (*range(60), *range(16_380, len(BYTES))):
        reader = FrameReader()
        assert [*reader.feed(BYTES[:cut]), *reader.feed(BYTES[cut:])] == SENT


def test_frames_byte_by_byte() -> None:
    reader = FrameReader()
    small = frames.frame(frames.DATA, 0, 3, b"abc") + frames.rst_stream(3, Code.CANCEL)
    found = [one for at in range(len(small)) for one in reader.feed(small[at : at + 1])]
    assert found == [Frame(frames.DATA, 0, 3, b"abc"), Frame(frames.RST_STREAM, 0, 3, b"\0\0\0\x08")]


@given(st.lists(st.integers(1, 20), max_size=40))
def test_frames_in_pieces_of_any_size(sizes: list[int]) -> None:
    sent = [Frame(frames.DATA, 0, 1, b"x" * size) for size in (0, 3, 40, 0, 300)]
    data, reader, found = b"".join(frames.frame(*one) for one in sent), FrameReader(), list[Frame]()
    for size in [*sizes, len(data)]:
        found += reader.feed(data[:size])
        data = data[size:]
    assert found == sent


def test_the_reserved_bit_is_no_part_of_the_number() -> None:
    [found] = FrameReader().feed(b"\0\0\0\0\0\xff\xff\xff\xff")
    assert found.stream == 2**31 - 1


def test_a_frame_that_is_too_large_is_refused_by_its_head() -> None:
    with pytest.raises(ConnectionFailed) as raised:
        list(FrameReader().feed((frames.MAX_FRAME_BYTES + 1).to_bytes(3, "big") + b"\0\0\0\0\0\x01"))
    assert raised.value.code is Code.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("kind", "flags", "payload", "expected"),
    [
        (frames.DATA, 0, b"abc", b"abc"),
        (frames.DATA, frames.PADDED, b"\x02abc\0\0", b"abc"),
        (frames.DATA, frames.PADDED, b"\x00abc", b"abc"),
        (frames.DATA, frames.PRIORITY_FLAG, b"abc", b"abc"),
        (frames.HEADERS, frames.PRIORITY_FLAG, b"\0\0\0\x01\x10abc", b"abc"),
        (frames.HEADERS, frames.PADDED | frames.PRIORITY_FLAG, b"\x01\0\0\0\x01\x10abc\0", b"abc"),
        (frames.DATA, frames.PADDED, b"\x04abc", None),
        (frames.DATA, frames.PADDED, b"\x01", None),
    ],
)
def test_padding(kind: int, flags: int, payload: bytes, expected: bytes | None) -> None:
    found = Frame(kind, flags, 1, payload)
    if expected is not None:
        assert frames.unpadded(found) == expected
        return
    with pytest.raises(ConnectionFailed):
        frames.unpadded(found)


def test_settings_there_and_back() -> None:
    [found] = FrameReader().feed(frames.settings({Setting.MAX_FRAME_SIZE: 1 << 20, Setting.INITIAL_WINDOW_SIZE: 7}))
    assert frames.read_settings(found) == {5: 1 << 20, 4: 7}


@pytest.mark.parametrize("payload", [b"", b"123", b"12345"])
def test_a_number_has_four_bytes(payload: bytes) -> None:
    with pytest.raises(ConnectionFailed):
        frames.read_long(payload)
