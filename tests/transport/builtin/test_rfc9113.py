"""RFC 9113 for a server, section by section: what a peer sends, and what becomes of it."""

import pytest

from extproc.transport.builtin import frames
from extproc.transport.builtin.connection import PREFACE, STREAM_WINDOW, Connection
from extproc.transport.builtin.frames import Code, Setting, frame, rst_stream, settings, window_update
from extproc.transport.builtin.streams import Closed, Opened, Received
from tests.transport.builtin.peer import REQUEST, SETTINGS, Exchange, Field, block, data, headers, request

BLOCK = block()
OPEN = request()
HALF_CLOSED = request(end=True)
PING = frame(frames.PING, 0, 0, b"12345678")
PING_ACK = (frames.PING, frames.ACK, 0, b"12345678")
RESET = rst_stream(1, Code.CANCEL)
LARGEST = b"x" * frames.MAX_FRAME_BYTES
MAX = frames.MAX_WINDOW

FINE = "fine"
PROTOCOL = "goaway PROTOCOL_ERROR"
SIZE = "goaway FRAME_SIZE_ERROR"
FLOW = "goaway FLOW_CONTROL_ERROR"
CALM = "goaway ENHANCE_YOUR_CALM"
RESET_PROTOCOL = "reset 1 PROTOCOL_ERROR"
RESET_CLOSED = "reset 1 STREAM_CLOSED"
RESET_FLOW = "reset 1 FLOW_CONTROL_ERROR"


def setting(key: int, value: int) -> bytes:
    return frame(frames.SETTINGS, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))


# Name (section first), what is sent behind the preface and an empty SETTINGS, the outcome.
CASES: list[tuple[str, list[bytes], str]] = [
    ("4.1 an unknown kind is ignored", [frame(0x99, 0xFF, 0, b"?"), OPEN], FINE),
    ("4.1 unknown flags are ignored", [frame(frames.PING, 0xF0, 0, b"12345678"), headers(1, BLOCK, flags=0xD2)], FINE),
    ("4.1 the reserved bit is ignored", [OPEN, frame(frames.DATA, 0, 1 << 31 | 1, b"x")], FINE),
    ("4.2 DATA of the largest size", [OPEN, data(1, LARGEST)], FINE),
    ("4.2 DATA beyond it", [OPEN, data(1, LARGEST + b"x")], SIZE),
    ("4.2 HEADERS beyond it", [headers(1, LARGEST + b"x")], SIZE),
    ("4.2 an unknown kind beyond it", [frame(0x99, 0, 0, LARGEST + b"x")], SIZE),
    ("4.3 a block in pieces", [frame(1, 0, 1, BLOCK[:5]), frame(9, 0, 1, BLOCK[5:7]), frame(9, 4, 1, BLOCK[7:])], FINE),
    ("4.3 a block that is not HPACK", [headers(1, b"\x80")], "goaway COMPRESSION_ERROR"),
    ("4.3 trailers that are not HPACK", [OPEN, headers(1, b"\x80", end=True)], "goaway COMPRESSION_ERROR"),
    ("4.3 PING inside a block", [frame(1, 0, 1, BLOCK), PING], PROTOCOL),
    ("4.3 an unknown kind inside a block", [frame(1, 0, 1, BLOCK), frame(0x99, 0, 1)], PROTOCOL),
    ("4.3 HEADERS inside a block", [frame(1, 0, 1, BLOCK), request(3)], PROTOCOL),
    ("5.1 idle: DATA", [data(1, b"x")], PROTOCOL),
    ("5.1 idle: RST_STREAM", [RESET], PROTOCOL),
    ("5.1 idle: WINDOW_UPDATE", [window_update(1, 1)], PROTOCOL),
    ("5.1 idle: CONTINUATION", [frame(frames.CONTINUATION, 4, 1)], PROTOCOL),
    ("5.1 idle: PRIORITY", [frame(frames.PRIORITY, 0, 1, bytes(5)), OPEN], FINE),
    ("5.1 half-closed: DATA", [HALF_CLOSED, data(1, b"x")], RESET_CLOSED),
    ("5.1 half-closed: HEADERS", [HALF_CLOSED, headers(1, b"", end=True)], RESET_CLOSED),
    ("5.1 half-closed: CONTINUATION", [HALF_CLOSED, frame(frames.CONTINUATION, 4, 1)], PROTOCOL),
    ("5.1 half-closed: WINDOW_UPDATE", [HALF_CLOSED, window_update(1, 1)], FINE),
    ("5.1 half-closed: PRIORITY", [HALF_CLOSED, frame(frames.PRIORITY, 0, 1, bytes(5))], FINE),
    ("5.1 half-closed: RST_STREAM", [HALF_CLOSED, RESET], FINE),
    ("5.1 closed: DATA on its way", [OPEN, RESET, data(1, b"x")], FINE),
    ("5.1 closed: trailers on their way", [OPEN, RESET, headers(1, b"", end=True)], FINE),
    ("5.1 closed: WINDOW_UPDATE on its way", [OPEN, RESET, window_update(1, 1)], FINE),
    ("5.1 closed: RST_STREAM on its way", [OPEN, RESET, RESET], FINE),
    ("5.1 closed: another request", [OPEN, RESET, request(1)], PROTOCOL),
    ("5.1.1 an even number", [request(2)], PROTOCOL),
    ("5.1.1 the number 0", [request(0)], PROTOCOL),
    ("5.1.1 a smaller number", [request(5), request(3)], PROTOCOL),
    ("5.1.1 a gap", [request(5), request(9)], FINE),
    ("5.1.1 the highest number", [request(frames.MAX_STREAM)], FINE),
    ("5.4.2 after a stream error other streams go on", [OPEN, window_update(1, 0), request(3)], RESET_PROTOCOL),
    ("6.1 DATA on stream 0", [frame(frames.DATA, 0, 0, b"x")], PROTOCOL),
    ("6.1 padded DATA", [OPEN, frame(frames.DATA, frames.PADDED, 1, b"\x02x\0\0")], FINE),
    ("6.1 nothing but padding", [OPEN, frame(frames.DATA, frames.PADDED, 1, b"\x02\0\0")], FINE),
    ("6.1 padding as long as the payload", [OPEN, frame(frames.DATA, frames.PADDED, 1, b"\x03\0\0")], PROTOCOL),
    ("6.1 no room for the pad length", [OPEN, frame(frames.DATA, frames.PADDED, 1)], SIZE),
    ("6.2 padded HEADERS", [headers(1, b"\x02" + BLOCK + b"\0\0", flags=frames.PADDED)], FINE),
    ("6.2 padding longer than the block", [headers(1, b"\x09" + b"\x82", flags=frames.PADDED)], PROTOCOL),
    ("6.2 with priority", [headers(1, bytes(5) + BLOCK, flags=frames.PRIORITY_FLAG)], FINE),
    ("6.2 no room for the priority", [headers(1, bytes(4), flags=frames.PRIORITY_FLAG)], SIZE),
    ("6.3 PRIORITY on stream 0", [frame(frames.PRIORITY, 0, 0, bytes(5))], PROTOCOL),
    ("6.3 PRIORITY of 4 bytes", [OPEN, frame(frames.PRIORITY, 0, 1, bytes(4))], "reset 1 FRAME_SIZE_ERROR"),
    ("6.3 PRIORITY of 4 bytes, idle", [frame(frames.PRIORITY, 0, 1, bytes(4))], SIZE),
    ("6.4 RST_STREAM on stream 0", [frame(frames.RST_STREAM, 0, 0, bytes(4))], PROTOCOL),
    ("6.4 RST_STREAM of 3 bytes", [OPEN, frame(frames.RST_STREAM, 0, 1, bytes(3))], SIZE),
    ("6.4 RST_STREAM with an unknown code", [OPEN, frame(frames.RST_STREAM, 0, 1, b"\xff" * 4)], FINE),
    ("6.5 an acknowledgement with a payload", [frame(frames.SETTINGS, frames.ACK, 0, bytes(6))], SIZE),
    ("6.5 an acknowledgement", [frame(frames.SETTINGS, frames.ACK, 0)], FINE),
    ("6.5 on a stream", [frame(frames.SETTINGS, 0, 1)], PROTOCOL),
    ("6.5 of 5 bytes", [frame(frames.SETTINGS, 0, 0, bytes(5))], SIZE),
    ("6.5.2 ENABLE_PUSH 2", [setting(0x2, 2)], PROTOCOL),
    ("6.5.2 ENABLE_PUSH 0", [setting(0x2, 0)], FINE),
    ("6.5.2 INITIAL_WINDOW_SIZE 2^31", [setting(0x4, 1 << 31)], FLOW),
    ("6.5.2 INITIAL_WINDOW_SIZE 2^31 before a good one", [frame(4, 0, 0, b"\0\4\x80\0\0\0\0\4\0\0\0\1")], FLOW),
    ("6.5.2 INITIAL_WINDOW_SIZE 2^31-1", [setting(0x4, MAX)], FINE),
    ("6.5.2 MAX_FRAME_SIZE below 16,384", [setting(0x5, 16_383)], PROTOCOL),
    ("6.5.2 MAX_FRAME_SIZE 2^24", [setting(0x5, 1 << 24)], PROTOCOL),
    ("6.5.2 MAX_FRAME_SIZE 2^24-1", [setting(0x5, (1 << 24) - 1)], FINE),
    ("6.5.2 an unknown setting", [setting(0x99, 1)], FINE),
    ("6.6 PUSH_PROMISE", [OPEN, frame(frames.PUSH_PROMISE, 4, 1, bytes(4) + BLOCK)], PROTOCOL),
    ("6.7 PING of 7 bytes", [frame(frames.PING, 0, 0, bytes(7))], SIZE),
    ("6.7 PING on a stream", [OPEN, frame(frames.PING, 0, 1, bytes(8))], PROTOCOL),
    ("6.8 GOAWAY on a stream", [OPEN, frame(frames.GOAWAY, 0, 1, bytes(8))], PROTOCOL),
    ("6.8 GOAWAY of 7 bytes", [frame(frames.GOAWAY, 0, 0, bytes(7))], SIZE),
    ("6.8 GOAWAY with debug data, and a stream goes on", [OPEN, frame(frames.GOAWAY, 0, 0, bytes(20)), data(1)], FINE),
    ("6.9 no credit for the connection", [window_update(0, 0)], PROTOCOL),
    ("6.9 no credit for a stream", [OPEN, window_update(1, 0)], RESET_PROTOCOL),
    ("6.9 WINDOW_UPDATE of 3 bytes", [OPEN, frame(frames.WINDOW_UPDATE, 0, 1, bytes(3))], SIZE),
    ("6.9.1 more than a stream's window, with credit", [OPEN, data(1, LARGEST) * (2 * STREAM_WINDOW // 16_384)], FINE),
    ("6.9.1 overflow of the connection's window", [window_update(0, MAX)], FLOW),
    ("6.9.1 overflow of a stream's window", [OPEN, window_update(1, MAX)], RESET_FLOW),
    ("6.9.2 overflow of a stream's window by SETTINGS", [OPEN, window_update(1, 1), setting(0x4, MAX)], FLOW),
    ("6.10 CONTINUATION on another stream", [frame(1, 0, 1, BLOCK), frame(9, 4, 3)], PROTOCOL),
    ("6.10 CONTINUATION on stream 0", [frame(1, 0, 1, BLOCK), frame(9, 4, 0)], PROTOCOL),
    ("6.10 CONTINUATION behind a whole block", [OPEN, frame(9, 4, 1)], PROTOCOL),
    ("6.10 CONTINUATION behind DATA", [OPEN, data(1, b"x"), frame(9, 4, 1)], PROTOCOL),
    ("8.1 trailers", [OPEN, data(1, b"x"), headers(1, block([("a", "b")]), end=True)], FINE),
    ("8.1 trailers that do not end it", [OPEN, headers(1, block([("a", "b")]))], RESET_PROTOCOL),
    ("8.1 trailers with a pseudo-header", [OPEN, headers(1, block([(":path", "/")]), end=True)], RESET_PROTOCOL),
    ("8.1 trailers with a forbidden field", [OPEN, headers(1, block([("upgrade", "x")]), end=True)], RESET_PROTOCOL),
    ("10.5.1 a block of very many fields", [headers(1, b"\x82" * 16_000)], CALM),
    ("10.5.1 a block of more than 64 KiB", [frame(1, 0, 1, LARGEST), frame(9, 0, 1, LARGEST) * 3, frame(9, 0, 1, b"x")],
     CALM),
    ("10.5 too many settings", [settings({}) + frame(4, 0, 0, bytes(6 * 33))], CALM),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "outcome"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_a_peer_that_sends(sent: list[bytes], outcome: str) -> None:
    """Where the connection goes on it is served like any other: it answers a PING."""
    exchange = Exchange(*sent)
    assert exchange.outcome == outcome
    if exchange.failure is None:
        assert PING_ACK in exchange.send(PING).frames


def with_(*fields: Field, without: str = "") -> list[Field]:
    return [field for field in REQUEST if field[0] != without] + list(fields)


PSEUDO = {name: value for name, value in REQUEST if name.startswith(":")}
MALFORMED: dict[str, list[Field]] = {
    "8.2.1 a capital in a name": with_(("X-a", "b")),
    "8.2.1 a blank in a name": with_(("x a", "b")),
    "8.2.1 a colon in a name": with_(("x:a", "b")),
    "8.2.1 a control character in a name": with_(("x\x01", "b")),
    "8.2.1 a name that is not ASCII": with_(("x\xe4", "b")),
    "8.2.1 an empty name": with_(("", "b")),
    "8.2.1 a zero in a value": with_(("x", "a\0b")),
    "8.2.1 a line feed in a value": with_(("x", "a\nb")),
    "8.2.1 a carriage return in a value": with_(("x", "a\rb")),
    "8.2.1 a blank before a value": with_(("x", " b")),
    "8.2.1 a tab behind a value": with_(("x", "b\t")),
    "8.2.1 a line feed in the path": [(n, "/p\n" if n == ":path" else v) for n, v in REQUEST],
    "8.2.2 connection": with_(("connection", "close")),
    "8.2.2 keep-alive": with_(("keep-alive", "1")),
    "8.2.2 proxy-connection": with_(("proxy-connection", "close")),
    "8.2.2 transfer-encoding": with_(("transfer-encoding", "chunked")),
    "8.2.2 upgrade": with_(("upgrade", "x")),
    "8.2.2 te other than trailers": with_(("te", "gzip"), without="te"),
    "8.3 an unknown pseudo-header": [(":verdict", "x"), *REQUEST],
    "8.3 a response's pseudo-header": [(":status", "200"), *REQUEST],
    "8.3 a pseudo-header behind a field": with_((":path", "/p"), without=":path"),
    "8.3.1 no method": with_(without=":method"),
    "8.3.1 no scheme": with_(without=":scheme"),
    "8.3.1 no path": with_(without=":path"),
    "8.3.1 an empty path": [(":path", ""), *with_(without=":path")],
    "8.3.1 a path without a slash": [(":path", "p"), *with_(without=":path")],
    "8.3.1 an authority with a user": [(":authority", "u@a"), *with_(without=":authority")],
    "8.3.1 another host": with_(("host", "b")),
    **{f"8.3.1 {name} twice": [(name, value), *REQUEST] for name, value in PSEUDO.items()},
    "8.3.1 no field at all": [],
    "8.5 CONNECT with a path": [(":method", "CONNECT"), *with_(without=":method")],
    "8.5 CONNECT without an authority": [(":method", "CONNECT")],
    "8.1.1 two lengths": with_(("content-length", "1"), ("content-length", "2")),
    "8.1.1 a length that is no number": with_(("content-length", "-1")),
    "8.1.1 a length of very many digits": with_(("content-length", "9" * 100)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_ends_its_stream(name: str) -> None:
    exchange = Exchange(request(1, MALFORMED[name]), data(1, b"on its way"), request(3))
    assert exchange.outcome == RESET_PROTOCOL
    assert [(type(event), event.stream) for event in exchange.events] == [(Opened, 3)]


WELL_FORMED: dict[str, list[Field]] = {
    "any token as a name": with_(("x-!#$%&'*+.^_`|~09az", "b")),
    "an empty value": with_(("x", "")),
    "any bytes as a value": with_(("x", "a b\tc\xff")),
    "no te": with_(without="te"),
    "no authority": with_(without=":authority"),
    "the same host": with_(("host", "a")),
    "the same length twice": with_(("content-length", "0"), ("content-length", "0")),
    "the asterisk": [(":path", "*"), *with_(without=":path")],
    "CONNECT": [(":method", "CONNECT"), (":authority", "a")],
}


@pytest.mark.parametrize("name", WELL_FORMED)
def test_a_well_formed_request_is_opened(name: str) -> None:
    exchange = Exchange(request(1, WELL_FORMED[name], end=True))
    assert exchange.outcome == FINE
    [opened] = exchange.events
    assert isinstance(opened, Opened) and opened.end
    expected = {field.encode("latin-1"): value.encode("latin-1") for field, value in WELL_FORMED[name]}
    assert opened.headers == expected


ANNOUNCED = request(1, with_(("content-length", "3")))


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        ([ANNOUNCED, data(1, b"ab"), data(1, b"c", end=True)], FINE),
        ([ANNOUNCED, data(1, b"abc"), headers(1, b"", end=True)], FINE),
        ([ANNOUNCED, frame(frames.DATA, 0x9, 1, b"\x02abc\0\0")], FINE),  # padding does not count
        ([ANNOUNCED, data(1, b"ab", end=True)], RESET_PROTOCOL),
        ([ANNOUNCED, data(1, b"ab"), headers(1, b"", end=True)], RESET_PROTOCOL),
        ([ANNOUNCED, data(1, b"abcd")], RESET_PROTOCOL),
        ([request(1, with_(("content-length", "3")), end=True)], RESET_PROTOCOL),
    ],
)  # fmt: skip
def test_a_content_length_holds(sent: list[bytes], outcome: str) -> None:
    assert Exchange(*sent).outcome == outcome


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0", PREFACE[:-1] + b"?", *(PREFACE + other for other in (PING, OPEN, RESET))],
)  # fmt: skip
def test_a_connection_begins_with_preface_and_settings(greeting: bytes) -> None:
    """3.4"""
    assert Exchange(greeting=greeting).outcome == PROTOCOL


def test_settings_are_acknowledged_each_and_pings_are_echoed() -> None:
    """6.5.3, 6.7"""
    exchange = Exchange(SETTINGS, PING)
    ack = (frames.SETTINGS, frames.ACK, 0, b"")
    assert exchange.frames == [ack, ack, PING_ACK]
    assert exchange.send(frame(frames.PING, frames.ACK, 0, bytes(8))).frames == []


def test_a_failed_stream_is_closed_for_the_consumer_and_nothing_is_sent_on_it() -> None:
    exchange = Exchange(OPEN, data(1, b"x"), window_update(1, MAX))
    assert [type(event) for event in exchange.events] == [Opened, Received, Closed]
    exchange.connection.send_headers(1, b"\x88")
    exchange.connection.send_data(1, b"x")
    exchange.connection.end(1, b"")
    assert exchange.connection.take() == b""


def test_the_last_value_of_a_setting_counts() -> None:
    """6.5.3: in their order, as one change."""
    exchange = Exchange(frame(frames.SETTINGS, 0, 0, b"\0\4\0\0\0\x09\0\4\0\0\0\x02"), OPEN)
    exchange.connection.send_data(1, b"0123")
    assert exchange.send(b"").of(frames.DATA)[0].payload == b"01"


def test_a_window_becomes_negative_and_recovers() -> None:
    """6.9.2"""
    exchange = Exchange(setting(Setting.INITIAL_WINDOW_SIZE, 4), OPEN)
    exchange.connection.send_data(1, b"0123456789")
    assert exchange.send(b"").of(frames.DATA)[0].payload == b"0123"
    assert exchange.send(setting(Setting.INITIAL_WINDOW_SIZE, 1)).of(frames.DATA) == []  # -3
    assert exchange.send(window_update(1, 3)).of(frames.DATA) == []  # 0
    assert exchange.send(window_update(1, 1)).of(frames.DATA)[0].payload == b"4"
    assert exchange.send(setting(Setting.INITIAL_WINDOW_SIZE, 3)).of(frames.DATA)[0].payload == b"56"


def test_the_connections_first_bytes_are_its_settings() -> None:
    [announced, _] = frames.FrameReader().feed(Connection().take())
    assert (announced.kind, announced.flags) == (frames.SETTINGS, 0)
    keys = frames.read_settings(announced).keys()
    assert keys >= {Setting.MAX_CONCURRENT_STREAMS, Setting.MAX_HEADER_LIST_SIZE}
