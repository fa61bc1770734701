"""A peer of the connection that may send anything: bytes in, frames out."""

import contextlib
from collections.abc import Sequence

import hpack

from extproc.transport.builtin import frames
from extproc.transport.builtin.connection import PREFACE, Connection
from extproc.transport.builtin.frames import Code, ConnectionFailed, Frame, FrameReader
from extproc.transport.builtin.streams import Event

Field = tuple[str, str]
REQUEST: list[Field] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/p"),
    (":authority", "a"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
SETTINGS = frames.settings({})
GREETING = PREFACE + SETTINGS


def block(fields: Sequence[Field] = REQUEST) -> bytes:
    """Refers to no dynamic table: each can be sent at any time."""
    return b"".join(frames.literal(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)


def indexing_block(fields: Sequence[Field] = REQUEST) -> bytes:
    """Adds to the dynamic table."""
    return hpack.Encoder().encode(fields)


def request(stream: int = 1, fields: Sequence[Field] = REQUEST, *, end: bool = False, flags: int = 0) -> bytes:
    return headers(stream, block(fields), end=end, flags=flags)


def headers(stream: int, payload: bytes, *, end: bool = False, flags: int = 0) -> bytes:
    flags |= frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.frame(frames.HEADERS, flags, stream, payload)


def headers_in_pieces(stream: int, payload: bytes) -> bytes:
    """Of the largest size that a frame may have."""
    size = frames.MAX_FRAME_BYTES
    sent = frames.frame(frames.HEADERS, 0, stream, payload[:size])
    for at in range(size, len(payload), size):
        sent += frames.frame(frames.CONTINUATION, 0, stream, payload[at : at + size])
    return sent + frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream)


def data(stream: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream, payload)


class Exchange:
    """What a connection made of some bytes."""

    def __init__(self, *sent: bytes, connection: Connection | None = None, greeting: bytes = GREETING) -> None:
        self.connection = connection or Connection()
        self.connection.take()
        self.events: list[Event] = []
        self.failure: Code | None = None
        self.send(greeting + b"".join(sent))

    def send(self, data: bytes) -> "Exchange":
        try:
            for event in self.connection.receive(data):
                self.events.append(event)
        except ConnectionFailed as error:
            self.failure = error.code
        self.frames = list(FrameReader().feed(self.connection.take()))
        return self

    def of(self, kind: int) -> list[Frame]:
        return [one for one in self.frames if one.kind == kind]

    @property
    def outcome(self) -> str:
        """`goaway CODE`, `reset STREAM CODE`, or `fine`."""
        resets = [f"reset {one.stream} {_code(one.payload)}" for one in self.of(frames.RST_STREAM)]
        goaways = [f"goaway {_code(one.payload[4:])}" for one in self.of(frames.GOAWAY)]
        assert (self.failure is not None) == bool(goaways)
        return ", ".join(resets + goaways) or "fine"


def _code(payload: bytes) -> str:
    with contextlib.suppress(ValueError):
        return Code(int.from_bytes(payload[:4], "big")).name
    return payload.hex()
