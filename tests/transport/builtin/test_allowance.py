"""Floods: what they cost is bounded, and honest traffic does not come near the bound."""

import time
from collections.abc import Callable

import hpack
import pytest

from extproc.transport.builtin import frames
from extproc.transport.builtin.allowance import BURST, CHEAP, CONTROL, PER_SECOND
from extproc.transport.builtin.connection import Connection
from extproc.transport.builtin.frames import Code, frame
from extproc.transport.builtin.streams import Opened, Received
from tests.transport.builtin.peer import REQUEST, Exchange, block, data, headers, headers_in_pieces, request
from tests.transport.builtin.test_rfc9113 import OPEN, PING, setting

FLOOD_BYTES = 2 << 20
LARGE = block([*REQUEST, *[("x", "y" * 120)] * 80])
CPU_SECONDS = 2.0
STREAMS = 1000


def repeated(piece: bytes) -> bytes:
    return piece * (FLOOD_BYTES // len(piece))


def many_streams() -> bytes:
    return b"".join(request(2 * number + 1) for number in range(STREAMS))


def resets() -> bytes:
    return b"".join(
        request(2 * number + 1) + frames.rst_stream(2 * number + 1, Code.CANCEL) for number in range(50_000)
    )


# What comes first, and the flood behind it.
FLOODS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "PING": lambda: (b"", repeated(PING)),
    "answers to a PING": lambda: (b"", repeated(frame(frames.PING, frames.ACK, 0, bytes(8)))),
    "empty SETTINGS": lambda: (b"", repeated(frames.settings({}))),
    "SETTINGS that change 1,000 windows": lambda: (many_streams(), repeated(setting(4, 1) + setting(4, 2))),
    "SETTINGS of many entries": lambda: (many_streams(), repeated(frame(4, 0, 0, bytes(6 * 32)))),
    "PRIORITY": lambda: (OPEN, repeated(frame(frames.PRIORITY, 0, 1, bytes(5)))),
    "WINDOW_UPDATE": lambda: (OPEN, repeated(frames.window_update(1, 1))),
    "WINDOW_UPDATE with 1,000 streams": lambda: (many_streams(), repeated(frames.window_update(0, 1))),
    "empty DATA": lambda: (OPEN, repeated(data(1))),
    "DATA of one byte": lambda: (OPEN, repeated(data(1, b"x"))),
    "DATA for a stream that is gone": lambda: (OPEN + frames.rst_stream(1, Code.CANCEL), repeated(data(1))),
    "empty CONTINUATION": lambda: (frame(1, 0, 1), repeated(frame(9, 0, 1))),
    "an unknown kind": lambda: (b"", repeated(frame(0x99, 0, 0))),
    "GOAWAY": lambda: (b"", repeated(frame(frames.GOAWAY, 0, 0, bytes(8)))),
    "resets": lambda: (b"", resets()),
    "malformed requests": lambda: (b"", b"".join(headers(2 * n + 1, b"\x82") for n in range(50_000))),
    "large blocks": lambda: (b"", b"".join(headers(2 * n + 1, LARGE) for n in range(4 * FLOOD_BYTES // len(LARGE)))),
}
# And these are over at once.
BOMBS: dict[str, Callable[[], bytes]] = {
    "a HEADERS frame of 850 KB": lambda: frame(1, 4, 1, b"\x82" * 850_000),
    "a block of 850 KB in pieces": lambda: frame(1, 0, 1) + frame(9, 0, 1, b"\x82" * 16_384) * 52,
    "a field that is repeated by its index": lambda: headers(1, encoded("y" * 3000) + b"\xbe" * 9000),
    "a Huffman code that grows": lambda: headers_in_pieces(1, encoded("a" * 70_000)),
    "a SETTINGS frame of very many entries": lambda: frame(4, 0, 0, b"\0\4\0\0\0\1\0\4\0\0\0\2" * 1365),
}


def encoded(value: str) -> bytes:
    return hpack.Encoder().encode([("x", value)])


def still() -> float:
    return 0.0


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(name: str) -> None:
    first, flood = FLOODS[name]()
    exchange = Exchange(first, connection=Connection(clock=still))
    assert exchange.failure is None
    for stream in range(1, 2 * STREAMS, 2):
        exchange.connection.send_data(stream, b"x" * 100_000)
    before = time.process_time()
    for at in range(0, len(flood), 65_536):
        if exchange.send(flood[at : at + 65_536]).failure is not None:
            break
    assert exchange.outcome.endswith("goaway ENHANCE_YOUR_CALM")
    assert time.process_time() - before < CPU_SECONDS


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_the_connection(name: str) -> None:
    bomb = BOMBS[name]()
    before = time.process_time()
    exchange = Exchange(bomb)
    assert exchange.failure in (Code.ENHANCE_YOUR_CALM, Code.FRAME_SIZE_ERROR)
    assert not exchange.events
    assert time.process_time() - before < CPU_SECONDS / 4


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_as_many_headers_as_envoy_takes_from_a_client_are_read() -> None:
    tracestate = ("tracestate", "x" * 60_000)
    blocks = hpack.Encoder()
    sent = b"".join(headers_in_pieces(stream, blocks.encode([*REQUEST, tracestate])) for stream in (1, 3))
    assert [type(event) for event in Exchange(sent).events] == [Opened, Opened]


def test_the_allowance_is_renewed() -> None:
    """To its edge: as many PINGs as the burst allows, then so many a second."""
    clock = Clock()
    exchange = Exchange(connection=Connection(clock))
    burst = (BURST - CONTROL) // CONTROL  # the greeting is SETTINGS
    assert exchange.send(PING * burst).outcome == "fine"
    for _ in range(3):
        clock.now += 1
        assert exchange.send(PING * (PER_SECOND // CONTROL)).outcome == "fine"
    assert exchange.send(PING).outcome == "goaway ENHANCE_YOUR_CALM"


def test_what_is_saved_up_is_bounded() -> None:
    clock = Clock()
    exchange = Exchange(connection=Connection(clock))
    clock.now += 1_000_000
    assert exchange.send(PING * (2 * BURST // CONTROL + 1)).outcome == "goaway ENHANCE_YOUR_CALM"


def test_calls_as_envoy_makes_them_need_little() -> None:
    """More calls than a worker can serve in a second, each with what comes beside it, all at the same instant."""
    exchange = Exchange(connection=Connection(still))
    for stream in range(1, 20_000, 2):
        credit = frames.window_update(stream, 5000) + frames.window_update(0, 5000)
        exchange.send(request(stream) + data(stream, b"x" * 500) + credit + data(stream, end=True))
        exchange.connection.end(stream, b"")
        assert exchange.outcome == "fine"
    assert len(exchange.events) == 3 * 10_000


def test_what_a_client_gives_up_costs_little() -> None:
    """8,000 clients that leave at once are nothing unusual for an Envoy that stops."""
    exchange = Exchange(connection=Connection(still))
    for stream in range(1, 16_000, 2):
        exchange.send(request(stream) + frames.rst_stream(stream, Code.CANCEL))
    assert exchange.failure is None


def test_small_messages_are_cheap_but_not_free() -> None:
    exchange = Exchange(OPEN, connection=Connection(still))
    assert exchange.send(data(1, b"x" * 16) * (BURST // CHEAP + 1)).failure is None
    assert len(exchange.events) == BURST // CHEAP + 2
    assert isinstance(exchange.events[0], Opened) and isinstance(exchange.events[-1], Received)
