import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.sse import Frames, fields, is_data, split

PARTS = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b": c", b"event: e"]), max_size=12).map(b"".join)


@given(PARTS, PARTS)
def test_no_byte_is_lost(first: bytes, second: bytes) -> None:
    frames = Frames()
    whole = [frames.feed(first), frames.feed(second)]
    assert b"".join(whole) + frames.rest() == first + second
    for part in whole:
        assert b"".join(split(part)) == part


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_whole(end: bytes) -> None:
    event = b"event: e" + end + b"data: 1" + end + end
    for at in range(len(event)):
        frames = Frames()
        out = frames.feed(event[:at]), frames.feed(event[at:] + b"data: 2")
        assert out == (b"", event) and frames.waiting == 7
    assert list(split(event * 2)) == [event, event]
    assert fields(event) == (b"e", b"1")


def test_fields() -> None:
    assert fields(b"data:a\ndata: b\nid: 1\n\n") == (b"", b"a\nb")
    assert fields(b": comment\n\n") == (b"", b"")


def test_data() -> None:
    assert is_data(b'{"a":1}') and is_data(b"[DONE]")
    assert not is_data(b'{"a":') and not is_data(b"")
