"""The server's connection against a client of another make (h2), and against clients that break the rules."""

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given
from hypothesis import strategies as st

from extproc.transport.builtin import frames
from extproc.transport.builtin.connection import (
    BACKLOG_BYTES,
    CONNECTION_WINDOW,
    MAX_CONCURRENT_STREAMS,
    STREAM_WINDOW,
    Connection,
)
from extproc.transport.builtin.frames import Code, ConnectionFailed
from extproc.transport.builtin.streams import Closed, Event, Opened, Received
from tests.transport.builtin.peer import GREETING, REQUEST, Exchange, data, request

OPEN = request()
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


def test_a_larger_window_is_acknowledged_before_it_is_used() -> None:
    """grpc-core holds data against the window that has been acknowledged, and h2 does, too."""
    pair = Pair(INITIAL_WINDOW_SIZE=10)
    stream = pair.request(end=True)
    pair.server.send_headers(stream, ANSWER)
    pair.server.send_data(stream, bytes(50))
    pair.exchange()
    assert len(pair.data()) == 10
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    pair.exchange()
    assert len(pair.data()) == 50


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


def test_draining() -> None:
    pair = Pair()
    pair.request()
    pair.server.announce_goaway()
    pair.server.send_goaway()
    pair.exchange()
    assert [one.last_stream_id for one in pair.of(h2.events.ConnectionTerminated)] == [2**31 - 1, 1]


def test_more_than_the_window_ends_the_stream() -> None:
    """Credit is withheld while the backlog is full."""
    exchange = Exchange(OPEN)
    exchange.connection.send_data(1, b"x" * (2 * BACKLOG_BYTES))
    exchange.send(data(1, b"y" * 16_384) * (STREAM_WINDOW // 16_384))
    assert exchange.failure is None and not exchange.of(frames.WINDOW_UPDATE)
    assert exchange.send(data(1, b"y")).outcome == "reset 1 FLOW_CONTROL_ERROR"
    assert exchange.events[-1] == Closed(1)


def test_streams_beyond_the_limit_are_refused_until_one_has_ended() -> None:
    exchange = Exchange(*[request(2 * number + 1, end=True) for number in range(MAX_CONCURRENT_STREAMS)])
    assert exchange.outcome == "fine"
    late = 2 * MAX_CONCURRENT_STREAMS + 1
    assert exchange.send(request(late)).outcome == f"reset {late} REFUSED_STREAM"
    exchange.connection.end(1, TRAILERS)
    assert exchange.send(data(late, b"late") + request(late + 2)).outcome == "fine"
    assert exchange.events[-1] == Opened(late + 2, exchange.events[0].headers, end=False)  # type: ignore[union-attr]


def test_streams_behind_our_goaway_are_refused_and_older_ones_go_on() -> None:
    exchange = Exchange(request(1))
    exchange.connection.announce_goaway()
    exchange.connection.take()
    assert exchange.send(request(3)).outcome == "fine"
    exchange.connection.send_goaway()
    exchange.connection.take()
    assert exchange.send(request(5)).outcome == "reset 5 REFUSED_STREAM"
    assert exchange.send(data(3, b"x")).outcome == "fine"
    assert exchange.events[-1] == Received(3, b"x", end=False)
    [goaway] = exchange.send(b"\0" * 9).of(frames.GOAWAY)
    assert goaway.payload[:4] == b"\0\0\0\x03", "the last stream of a GOAWAY never grows"


def test_what_is_not_consumed_gets_no_credit_for_the_connection() -> None:
    """Bytes that the consumer holds count until it gives them back, or until their stream is gone."""
    exchange = Exchange(OPEN, request(3))
    piece = b"x" * 16_384
    for stream in (1, 3):
        for count in range(1, CONNECTION_WINDOW // 2 // len(piece) + 1):
            exchange.send(data(stream, piece))
            assert not [one for one in exchange.of(frames.WINDOW_UPDATE) if not one.stream]
            exchange.connection.hold(stream, count * len(piece))
            exchange.events.clear()
    exchange.connection.hold(3, 0)
    [credit] = exchange.send(b"").of(frames.WINDOW_UPDATE)
    assert (credit.stream, int.from_bytes(credit.payload, "big")) == (0, CONNECTION_WINDOW // 2)
    [credit] = exchange.send(frames.rst_stream(1, Code.CANCEL) + data(3, piece)).of(frames.WINDOW_UPDATE)
    assert (credit.stream, int.from_bytes(credit.payload, "big")) == (0, CONNECTION_WINDOW // 2 + len(piece))


def test_more_than_the_connections_window_ends_it() -> None:
    exchange = Exchange(OPEN)
    piece = b"x" * 16_384
    for count in range(1, CONNECTION_WINDOW // len(piece) + 1):
        exchange.send(data(1, piece))
        exchange.connection.hold(1, count * len(piece))
        exchange.events.clear()
    assert exchange.failure is None
    assert exchange.send(data(1, b"x")).outcome == "goaway FLOW_CONTROL_ERROR"


def test_the_connections_window_serves_waiting_streams_in_turn() -> None:
    pair = Pair(INITIAL_WINDOW_SIZE=1 << 20)
    streams = [pair.request() for _ in range(3)]
    for stream in streams:
        pair.server.send_headers(stream, ANSWER)
        pair.server.send_data(stream, b"%d" % stream * 70_000)
    pair.exchange()
    for _ in range(3):
        pair.client.increment_flow_control_window(30_000)
        pair.exchange()
    assert {one.stream_id for one in pair.of(h2.events.DataReceived)} == set(streams)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40))))
def test_no_frames_whatsoever_do_more_than_break_it(sent: list[tuple[int, int, int, bytes]]) -> None:
    server = Connection()
    try:
        for event in server.receive(GREETING + OPEN + b"".join(frames.frame(*one) for one in sent)):
            if isinstance(event, Received):
                server.send_data(event.stream, event.data)
    except ConnectionFailed:
        pass
