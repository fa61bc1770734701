"""The server's connection against a client of another make (h2), and against clients that break the rules."""

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.server.http2 import frames
from extproc.server.http2.connection import (
    BACKLOG_BYTES,
    PREFACE,
    STREAM_WINDOW,
    Closed,
    Connection,
    Event,
    Opened,
    Received,
)
from extproc.server.http2.frames import Broken, Code, FrameReader, Setting

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/p"), (":authority", "a"), ("te", "trailers")]
BLOCK = hpack.Encoder().encode(REQUEST)
OPEN = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, BLOCK)
UNFINISHED = frames.frame(frames.HEADERS, 0, 1, BLOCK)
ANSWER = b"\x88"
TRAILERS = frames.literal(b"grpc-status", b"0")


class Pair:
    """An h2 client and our server, joined."""

    def __init__(self, **settings: int) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        if settings:
            self.client.update_settings({getattr(h2.settings.SettingCodes, k): v for k, v in settings.items()})
        self.server = Connection()
        self.seen: list[Event] = []
        self.heard: list[h2.events.Event] = []
        self.exchange()

    def exchange(self) -> None:
        """Until neither has anything to say."""
        while (up := self.client.data_to_send()) or (down := self.server.take()):
            self.seen += self.server.receive(up) if up else []
            self.heard += self.client.receive_data(down) if not up else []

    def request(self, body: bytes = b"", *, end: bool = False) -> int:
        stream = self.client.get_next_available_stream_id()
        self.client.send_headers(stream, REQUEST, end_stream=end and not body)
        while body:
            size = min(self.client.local_flow_control_window(stream), self.client.max_outbound_frame_size, len(body))
            self.client.send_data(stream, body[:size], end_stream=end and size == len(body))
            body = body[size:]
            self.exchange()
        self.exchange()
        return stream

    def data(self) -> bytes:
        return b"".join(one.data for one in self.heard if isinstance(one, h2.events.DataReceived))

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.heard if isinstance(one, kind)]


def broken(*sent: bytes) -> Code:
    """What the server says to bytes it cannot accept; it says it in a GOAWAY, too."""
    server = Connection()
    server.take()
    with pytest.raises(Broken) as raised:
        list(server.receive(PREFACE + b"".join(sent)))
    [*_, last] = FrameReader().feed(server.take())
    assert (last.kind, last.payload[4:]) == (frames.GOAWAY, raised.value.code.to_bytes(4, "big"))
    return raised.value.code


def test_a_request_and_its_answer() -> None:
    pair = Pair()
    stream = pair.request(b"hello", end=True)
    opened, received = pair.seen
    assert isinstance(opened, Opened)
    assert opened.headers == {name.encode(): value.encode() for name, value in REQUEST}
    assert received == Received(stream, b"hello", end=True)
    pair.server.send_headers(stream, ANSWER)
    pair.server.send_data(stream, b"world")
    pair.server.end(stream, TRAILERS)
    pair.exchange()
    assert pair.of(h2.events.ResponseReceived)[0].headers == [(":status", "200")]
    assert pair.data() == b"world"
    assert pair.of(h2.events.TrailersReceived)[0].headers == [("grpc-status", "0")]
    assert pair.of(h2.events.StreamEnded)


def test_every_cut_of_the_clients_bytes_gives_the_same_events() -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    for stream in (1, 3):
        client.send_headers(stream, REQUEST)
        client.send_data(stream, b"some data", pad_length=3)
    client.reset_stream(3)
    sent = client.data_to_send()
    whole = list(Connection().receive(sent))
    assert [type(event) for event in whole] == [Opened, Received, Opened, Received, Closed]
    for cut in range(len(sent)):
        server = Connection()
        assert [*server.receive(sent[:cut]), *server.receive(sent[cut:])] == whole


def test_what_does_not_fit_the_clients_window_waits_for_it() -> None:
    pair = Pair(INITIAL_WINDOW_SIZE=10)
    stream = pair.request(end=True)
    pair.server.send_headers(stream, ANSWER)
    for piece in (b"0123456", b"789abcd", b"ef"):
        pair.server.send_data(stream, piece)
    pair.server.end(stream, TRAILERS)
    pair.exchange()
    assert (pair.data(), pair.of(h2.events.StreamEnded)) == (b"0123456789", [])
    pair.client.increment_flow_control_window(3, stream)
    pair.exchange()
    assert pair.data() == b"0123456789abc"
    pair.client.increment_flow_control_window(100, stream)
    pair.exchange()
    assert pair.data() == b"0123456789abcdef"
    assert pair.of(h2.events.StreamEnded)


def test_a_smaller_window_counts_for_open_streams_too() -> None:
    pair = Pair()
    stream = pair.request()
    pair.server.send_headers(stream, ANSWER)
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 4})
    pair.exchange()
    pair.server.send_data(stream, b"0123456789")
    pair.exchange()
    assert pair.data() == b"0123"


def test_the_connections_window_holds_all_streams_back() -> None:
    pair = Pair(INITIAL_WINDOW_SIZE=1 << 20)
    streams = [pair.request(), pair.request()]
    for stream in streams:
        pair.server.send_headers(stream, ANSWER)
        pair.server.send_data(stream, b"x" * 50_000)
    pair.exchange()
    assert len(pair.data()) == 65_535
    pair.client.increment_flow_control_window(1 << 20)
    pair.exchange()
    assert len(pair.data()) == 100_000


def test_a_large_body_gets_credit_as_it_comes() -> None:
    pair = Pair()
    body = bytes(range(256)) * (3 * STREAM_WINDOW // 256)
    pair.request(body, end=True)
    assert b"".join(one.data for one in pair.seen if isinstance(one, Received)) == body


def test_a_client_that_does_not_read_gets_no_credit_to_send() -> None:
    pair = Pair()
    stream = pair.request()
    pair.server.send_headers(stream, ANSWER)
    pair.server.send_data(stream, b"x" * (BACKLOG_BYTES + 100_000))
    pair.exchange()
    for _ in range(STREAM_WINDOW // 16_384):
        pair.client.send_data(stream, b"y" * 16_384)
    pair.exchange()
    assert pair.client.local_flow_control_window(stream) == 0
    pair.client.increment_flow_control_window(1 << 24)
    pair.client.increment_flow_control_window(1 << 24, stream)
    pair.exchange()
    assert pair.client.local_flow_control_window(stream) == STREAM_WINDOW


def test_frames_are_no_larger_than_the_client_takes() -> None:
    pair = Pair(INITIAL_WINDOW_SIZE=1 << 20, MAX_FRAME_SIZE=20_000)
    pair.client.increment_flow_control_window(1 << 20)
    stream = pair.request()
    pair.server.send_headers(stream, ANSWER)
    pair.server.send_data(stream, b"x" * 50_000)
    pair.exchange()
    assert [len(one.data) for one in pair.of(h2.events.DataReceived)] == [20_000, 20_000, 10_000]


def test_pings_are_answered() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    pair.exchange()
    assert [one.ping_data for one in pair.of(h2.events.PingAckReceived)] == [b"12345678"]


def test_a_reset_ends_a_stream_and_what_is_said_on_it_afterwards_goes_nowhere() -> None:
    pair = Pair()
    stream = pair.request()
    pair.client.reset_stream(stream)
    pair.exchange()
    assert pair.seen[-1] == Closed(stream)
    pair.server.send_headers(stream, ANSWER)
    pair.server.send_data(stream, b"x")
    pair.server.end(stream, TRAILERS)
    assert pair.server.take() == b""


def test_an_early_end_tells_the_client_to_stop() -> None:
    pair = Pair()
    stream = pair.request(b"more to come")
    pair.server.send_headers(stream, ANSWER)
    pair.server.end(stream, TRAILERS)
    pair.exchange()
    assert pair.of(h2.events.StreamEnded)
    assert [one.error_code for one in pair.of(h2.events.StreamReset)] == [Code.NO_ERROR]


def test_trailers_of_a_request_end_it() -> None:
    pair = Pair()
    stream = pair.request(b"x")
    pair.client.send_headers(stream, [("checksum", "1")], end_stream=True)
    pair.exchange()
    assert pair.seen[-1] == Received(stream, b"", end=True)


def test_leaving() -> None:
    pair = Pair()
    pair.request()
    pair.server.leave(announced=True)
    pair.server.leave()
    pair.exchange()
    assert [one.last_stream_id for one in pair.of(h2.events.ConnectionTerminated)] == [2**31 - 1, 1]


def test_a_header_block_in_pieces() -> None:
    first = frames.frame(frames.HEADERS, frames.END_STREAM, 1, BLOCK[:3])
    middle = frames.frame(frames.CONTINUATION, 0, 1, BLOCK[3:7])
    last = frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, BLOCK[7:])
    opened, received = Connection().receive(PREFACE + first + middle + last)
    assert isinstance(opened, Opened)
    assert opened.headers[b":path"] == b"/p"
    assert received == Received(1, b"", end=True)


def test_frames_of_unknown_kinds_are_passed_over() -> None:
    [opened] = Connection().receive(PREFACE + frames.frame(0x99, 0xFF, 0, b"?") + OPEN)
    assert isinstance(opened, Opened)


def test_frames_for_a_stream_that_has_ended_are_passed_over() -> None:
    server = Connection()
    list(server.receive(PREFACE + OPEN))
    server.send_headers(1, ANSWER)
    server.end(1, TRAILERS)
    late = [
        frames.frame(frames.DATA, 0, 1, b"late"),
        frames.window_update(1, 1),
        frames.rst_stream(1, Code.CANCEL),
        frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, b""),
    ]
    assert list(server.receive(b"".join(late))) == []


def setting(key: Setting, value: int) -> bytes:
    return frames.settings({key: value})


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([frames.frame(frames.DATA, 0, 1, b"x")], Code.PROTOCOL_ERROR),  # never opened
        ([frames.frame(frames.DATA, 0, 0, b"x")], Code.PROTOCOL_ERROR),
        ([frames.frame(frames.HEADERS, frames.END_HEADERS, 2, BLOCK)], Code.PROTOCOL_ERROR),  # a server's number
        ([frames.frame(frames.HEADERS, frames.END_HEADERS, 0, BLOCK)], Code.PROTOCOL_ERROR),
        ([OPEN, OPEN], Code.PROTOCOL_ERROR),  # trailers that do not end it
        ([UNFINISHED, frames.frame(frames.PING, 0, 0, b"12345678")], Code.PROTOCOL_ERROR),
        ([UNFINISHED, frames.frame(frames.CONTINUATION, 4, 3)], Code.PROTOCOL_ERROR),
        ([frames.frame(frames.CONTINUATION, 4, 1)], Code.PROTOCOL_ERROR),
        ([frames.frame(frames.HEADERS, 0, 1), *[frames.frame(frames.CONTINUATION, 0, 1, b"x" * 40_000)] * 2],
         Code.ENHANCE_YOUR_CALM),
        ([frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff")], Code.COMPRESSION_ERROR),
        ([frames.frame(frames.PUSH_PROMISE, 0, 1)], Code.PROTOCOL_ERROR),
        ([frames.frame(frames.PING, 0, 0, b"1")], Code.FRAME_SIZE_ERROR),
        ([frames.frame(frames.SETTINGS, 0, 1)], Code.PROTOCOL_ERROR),
        ([frames.frame(frames.SETTINGS, 0, 0, b"1")], Code.FRAME_SIZE_ERROR),
        ([setting(Setting.MAX_FRAME_SIZE, 1)], Code.PROTOCOL_ERROR),
        ([setting(Setting.INITIAL_WINDOW_SIZE, 1 << 31)], Code.FLOW_CONTROL_ERROR),
        ([frames.window_update(0, 0)], Code.PROTOCOL_ERROR),
        ([frames.window_update(0, 2**31 - 1)], Code.FLOW_CONTROL_ERROR),
        ([OPEN, frames.window_update(1, 2**31 - 1)], Code.FLOW_CONTROL_ERROR),
        ([frames.window_update(1, 1)], Code.PROTOCOL_ERROR),
        ([frames.rst_stream(1, Code.CANCEL)], Code.PROTOCOL_ERROR),
        ([OPEN, frames.frame(frames.DATA, frames.END_STREAM, 1), frames.frame(frames.DATA, 0, 1)], Code.STREAM_CLOSED),
    ],
)  # fmt: skip
def test_what_breaks_the_rules_ends_the_connection(sent: list[bytes], code: Code) -> None:
    assert broken(*sent) is code


def test_more_than_the_window_ends_the_connection() -> None:
    """Credit is withheld while the backlog is full; who sends all the same is no client of ours."""
    server = Connection()
    list(server.receive(PREFACE + OPEN))
    server.send_data(1, b"x" * (2 * BACKLOG_BYTES))
    piece = frames.frame(frames.DATA, 0, 1, b"y" * (1 << 20))
    with pytest.raises(Broken) as raised:
        list(server.receive(piece * 5))
    assert raised.value.code is Code.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\0", PREFACE[:-1] + b"?"])
def test_no_preface_no_connection(sent: bytes) -> None:
    with pytest.raises(Broken):
        list(Connection().receive(sent))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40))))
def test_no_frames_whatsoever_do_more_than_break_it(sent: list[tuple[int, int, int, bytes]]) -> None:
    server = Connection()
    try:
        for event in server.receive(PREFACE + OPEN + b"".join(frames.frame(*one) for one in sent)):
            if isinstance(event, Received):
                server.send_data(event.stream, event.data)
    except Broken:
        pass
