"""Every cut of the bytes gives the same events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.sse import OVERFLOW, SseDecoder, SseEvent, SseKind

COMMENT = SseKind.COMMENT


def decode(*pieces: bytes, limit: int = 1000) -> list[SseEvent]:
    decoder = SseDecoder(limit)
    return [*(event for piece in pieces for event in decoder.feed(piece)), *decoder.close()]


def bytewise(raw: bytes, limit: int = 1000) -> list[SseEvent]:
    return decode(*(raw[n : n + 1] for n in range(len(raw))), limit=limit)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [SseEvent(b"a"), SseEvent(b"b")]),
        (b"data:a\r\n\r\ndata:  b\r\r", [SseEvent(b"a"), SseEvent(b" b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent(b"a")]),
        (b"data: a\ndata: b\n\n", [SseEvent(b"a\nb")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [SseEvent(b"a", "error"), SseEvent(b"b")]),
        (b"error: {}\n\ndata: b\n\n", [SseEvent(b"{}", "error"), SseEvent(b"b")]),
        (b": hi\n\n:\ndata: a\n\n", [SseEvent(b"hi", kind=COMMENT), SseEvent(b"", kind=COMMENT), SseEvent(b"a")]),
        (b"id: 1\nretry: 2\nfoo\ndata: a\n\n", [SseEvent(b"a")]),
        (b"event: x\n\ndata\n\ndata:\n\n", []),
        (b"data: a", [SseEvent(b"a")]),
        ("data: é😀\x85 \n\n".encode(), [SseEvent("é😀\x85 ".encode())]),
        (b"\n\n\r\n\r", []),
    ],
)
def test_decodes(raw: bytes, expected: list[SseEvent]) -> None:
    assert decode(raw) == expected
    assert bytewise(raw) == expected


@pytest.mark.parametrize(
    "raw", [b"data: a\n\ndata: %b" % (b"x" * 30), b"data: a\n\n" + b"data: xxxx\n" * 9 + b"\ndata: b\n\n"]
)
def test_says_so_over_the_limit_and_nothing_after(raw: bytes) -> None:
    expected = [SseEvent(b"a"), OVERFLOW]
    assert decode(raw + b"\n\ndata: c\n\n", limit=20) == expected
    assert bytewise(raw + b"\n\ndata: c\n\n", limit=20) == expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data", b": ", b":", b"event", b"x", b"\xef\xbb\xbf"]), max_size=20))
def test_cuts_do_not_matter(parts: list[bytes]) -> None:
    assert decode(*parts, limit=8) == decode(b"".join(parts), limit=8) == bytewise(b"".join(parts), limit=8)
