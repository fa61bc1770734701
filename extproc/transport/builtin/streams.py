"""One stream of a connection, and what happens on it."""

from dataclasses import dataclass, field

import msgspec

from extproc.transport.builtin.headers import Headers


class Opened(msgspec.Struct, frozen=True):
    stream: int
    headers: Headers
    end: bool
    """The request has neither body nor trailers."""


class Received(msgspec.Struct, frozen=True):
    stream: int
    data: bytes
    end: bool


class Closed(msgspec.Struct, frozen=True):
    """The stream was reset, by the peer or because of its mistake; nothing more can be sent on it."""

    stream: int


Event = Opened | Received | Closed


@dataclass(slots=True)
class Stream:
    id: int
    window: int
    """Bytes that the peer has room for."""
    missing: int | None
    """Bytes that `content-length` announced and that have not arrived; None if nothing was announced."""
    done: bool = False
    """The peer's half has ended."""
    uncredited: int = 0
    """Bytes received since the peer last got credit."""
    held: int = 0
    """Bytes received that the consumer has not consumed."""
    queue: bytearray = field(default_factory=bytearray)
    """Bytes to send that wait for the window."""
    trailers: bytes | None = None
    """They follow the queue and end our half."""
