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
    """The stream was reset, by the peer or for a mistake of the peer's; nothing more can be sent on it."""

    stream: int


Event = Opened | Received | Closed


@dataclass(slots=True)
class Stream:
    id: int
    window: int
    """What the peer still takes."""
    missing: int | None
    """What `content-length` announced and has not come; None if nothing was announced."""
    done: bool = False
    """The peer's half has ended."""
    uncredited: int = 0
    """What it sent since it last got credit."""
    held: int = 0
    """What it sent and the consumer has not consumed."""
    queue: bytearray = field(default_factory=bytearray)
    """What waits for the window."""
    trailers: bytes | None = None
    """They follow the queue and end our half."""
