"""The HTTP/2 and gRPC server: whatever a peer sends, however its bytes are cut."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import hpack

from extproc.transport.builtin import frames
from extproc.transport.builtin.connection import DEFAULT_WINDOW, Connection
from extproc.transport.builtin.frames import Code, ConnectionFailed, Frame, FrameReader, frame
from extproc.transport.builtin.grpc import Peer, Server
from extproc.transport.builtin.headers import BlockReader
from extproc.transport.builtin.streams import Closed, Event, Opened, Received
from extproc.transport.calls import Call
from tests.transport.builtin.peer import GREETING, REQUEST, block, data, headers, indexing_block, request

KINDS = 12
PATH = b"/p"


def still() -> float:
    return 0.0


def hpack_blocks(sent: bytes) -> None:
    """Blocks, cut by 0xfe 0xfe, mean what they mean to the library, or end the connection."""
    reader, other = BlockReader(), hpack.Decoder(max_header_list_size=64 * 1024)
    for part in sent.split(b"\xfe\xfe"):
        for _ in range(2):
            try:
                expected = [tuple(field) for field in other.decode(part, raw=True)]
            except hpack.HPACKError:
                expected = None
            try:
                found = reader.read(part)._fields
            except ConnectionFailed:
                assert expected is None
                return
            assert found == expected


def raw_bytes(sent: bytes) -> None:
    """The first byte says where to cut; the events are the same, and so is the end."""
    if not sent:
        return
    step = sent[0] + 1
    body = GREETING + sent[1:]
    whole = _run(Connection(still), [body])
    cut = _run(Connection(still), [body[at : at + step] for at in range(0, len(body), step)])
    assert whole == cut, (whole, cut)


def _run(connection: Connection, pieces: list[bytes]) -> tuple[list[Event], Code | None, bytes]:
    events: list[Event] = []
    failure = None
    try:
        for piece in pieces:
            events += connection.receive(piece)
    except ConnectionFailed as error:
        failure = error.code
    _check_grammar(events)
    return events, failure, connection.take()


def _check_grammar(events: list[Event]) -> None:
    """Opened, Received until the end, perhaps Closed; each stream once."""
    ended: dict[int, bool] = {}
    for event in events:
        match event:
            case Opened(stream, fields, end):
                assert stream not in ended and stream % 2 and fields[b":method"]
                ended[stream] = end
            case Received(stream, _, end):
                assert ended[stream] is False
                ended[stream] = end
            case Closed(stream):
                assert ended.pop(stream) in (True, False)
                ended[stream] = True


def _frames(sent: bytes) -> Iterator[tuple[int, Frame]]:
    """Frames, well-formed mostly, from any bytes: kind, flags, stream, size of the payload; the payload."""
    at = 0
    while at + 4 <= len(sent):
        kind, flags, stream, size = sent[at : at + 4]
        payload = sent[at + 4 : at + 4 + size]
        at += 4 + size
        yield kind, Frame(kind % KINDS, flags, stream % 16, payload)


def any_frames(sent: bytes) -> None:
    """Frames of any kind, and a consumer that answers. No more is sent than the peer's windows allow."""
    connection = Connection(still)
    model = _Windows()
    model.sent(connection.take())
    try:
        _consume(connection, model, GREETING)
        for choice, found in _frames(sent):
            wire = frame(*found)
            if choice >= 128:  # a whole request, or what a window would say
                wire = request(found.stream * 2 + 1, end=bool(found.flags & 1))
                if choice >= 192:
                    wire = frames.window_update(found.stream, found.flags + 1)
            model.received(wire)
            _consume(connection, model, wire)
    except ConnectionFailed:
        *_, last = _split(connection.take())
        assert last.kind == frames.GOAWAY


def _consume(connection: Connection, model: "_Windows", wire: bytes) -> None:
    for event in connection.receive(wire):
        stream = event.stream
        match event:
            case Opened():
                connection.send_headers(stream, b"\x88")
                connection.send_data(stream, b"x" * 40_000)
            case Received(_, content, end):
                connection.hold(stream, len(content) % 3)
                connection.send_data(stream, content * 50)
                if end:
                    connection.end(stream, b"\x88")
            case Closed():
                connection.send_data(stream, b"late")
    model.sent(connection.take())


def _split(wire: bytes) -> Iterator[Frame]:
    while wire:
        size = int.from_bytes(wire[:3], "big")
        yield Frame(wire[3], wire[4], int.from_bytes(wire[5:9], "big"), wire[9 : 9 + size])
        wire = wire[9 + size :]


class _Windows:
    """What the peer allows, counted anew from the frames in both directions."""

    def __init__(self) -> None:
        self.connection = DEFAULT_WINDOW
        self.ended: set[int] = set()

    def received(self, wire: bytes) -> None:
        for found in FrameReader().feed(wire):
            if found.kind == frames.WINDOW_UPDATE and not found.stream and len(found.payload) == 4:
                self.connection += int.from_bytes(found.payload, "big") & frames.MAX_WINDOW

    def sent(self, wire: bytes) -> None:
        """Frames may be as large as the peer allows."""
        for found in _split(wire):
            if found.kind == frames.DATA:
                self.connection -= len(found.payload)
                assert found.stream not in self.ended and self.connection >= 0
            if found.kind == frames.HEADERS and found.flags & frames.END_STREAM:
                assert found.stream not in self.ended
                self.ended.add(found.stream)


class _Transport:
    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _Echo:
    """Raises, ends and answers as the messages say."""

    open = 0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._closed = False
        _Echo.open += 1

    def received(self, message: bytes) -> None:
        assert not self._call.ended and not self._closed
        self._call.write(message)
        if message.startswith(b"r"):
            raise ValueError
        if message.startswith(b"e"):
            self._call.end()

    def finished(self) -> None:
        assert not self._closed
        self._call.end()

    def closed(self) -> None:
        assert not self._closed
        self._closed = True
        _Echo.open -= 1
        if _Echo.open % 2:
            raise ValueError


_LOOP = asyncio.new_event_loop()
logging.getLogger("extproc").addHandler(logging.NullHandler())  # bugs on purpose are not printed


def grpc_peer(sent: bytes) -> None:
    """Frames on a connection of the gRPC server: no exception leaves it, and every call is closed once."""

    async def run() -> None:
        _Echo.open = 0
        peer = Peer(Server({PATH: _Echo}, lambda: 1000))
        transport: Any = _Transport()
        peer.connection_made(transport)
        peer.data_received(GREETING)
        for choice, found in _frames(sent):
            if transport.closed:
                break
            stream = found.stream * 2 + 1
            wire = [
                frame(*found),
                request(stream, end=bool(found.flags & 1)),
                data(stream, found.payload, end=found.flags == 1),
                data(stream, b"\0\0\0\0" + bytes((len(found.payload),)) + found.payload, end=found.flags == 1),
            ][choice >> 6]
            if found.flags == 2:
                peer.pause_writing()
            peer.data_received(wire)
            if found.flags == 4:
                peer.resume_writing()
        peer.connection_lost(None)
        assert _Echo.open == 0 and peer.idle

    _LOOP.run_until_complete(run())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "hpack": hpack_blocks,
    "http2-bytes": raw_bytes,
    "http2-frames": any_frames,
    "grpc": grpc_peer,
}
_CALL = request() + data(1, b"\0\0\0\0\x02hi") + data(1, end=True)
SEEDS: dict[str, list[bytes]] = {
    "hpack": [
        *(indexing_block(), block(), b"\xfe\xfe".join([indexing_block()] * 3), b"\x20\x82", b"\x82" * 20),
        b"\xfe\xfe".join([b"\x40\1a\1b", b"\xbe", b"\x40\1a\1c", b"\xbe", b"\x20\x3f\xe1\x1f", b"\xbf\xbe"]),
    ],
    "http2-bytes": [
        b"\xff" + _CALL,
        b"\x00" + headers(1, indexing_block()) + frames.rst_stream(1, Code.CANCEL) + request(3, REQUEST[:4]),
        b"\x07" + frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 1}) + frames.window_update(0, 1),
        b"\x20" + frame(frames.PING, 0, 0, bytes(8)) + frame(frames.GOAWAY, 0, 0, bytes(8)) + _CALL,
        b"\x01" + frame(frames.HEADERS, 0, 1, block()[:9]) + frame(frames.CONTINUATION, 4, 1, block()[9:]),
    ],
    "http2-frames": [
        b"\x80\0\0\0" + b"\0\0\x01\x02hi" + b"\xc0\x09\x01\0" * 3,
        b"\x04\0\0\x06\0\4\0\0\0\1" + b"\x80\1\1\0",
    ],
    "grpc": [b"\x40\0\0\0\xc0\0\0\x02hi\xc0\x01\0\x01e", b"\x40\0\1\0\x80\0\1\x07\0\0\0\0\x02hi\xc0\0\1\1r"],
}
