"""The gRPC server against peers that break the rules, byte by byte, and against methods that fail."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from extproc.transport.builtin import frames
from extproc.transport.builtin import grpc as server_module
from extproc.transport.builtin.frames import Code, frame
from extproc.transport.builtin.grpc import Peer, Server
from extproc.transport.calls import Call, Method
from tests.transport.builtin.peer import GREETING, REQUEST, data, headers, request
from tests.transport.test_calls import ECHO, METHODS, OPTIONS, SECONDS, Echo, replies, stream

MAX_MESSAGE_BYTES = 40 << 20
Use = Callable[[grpc.aio.Channel, Server], Awaitable[None]]


class Buggy(Echo):
    """Raises where the message says, and tells the test that it was closed."""

    told: asyncio.Queue[str]

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.bug = b""

    def received(self, message: bytes) -> None:
        self.bug = message
        self.call.write(message)
        self._raise(b"received")

    def finished(self) -> None:
        self._raise(b"finished")

    def closed(self) -> None:
        self.told.put_nowait("closed")
        self._raise(b"closed")

    def _raise(self, place: bytes) -> None:
        if self.bug == place:
            raise ValueError("on purpose")


class Unborn(Echo):
    def __init__(self, call: Call) -> None:
        raise ValueError("on purpose")


BUGGY, UNBORN = "/t.T/Buggy", "/t.T/Unborn"
FAILING = {**METHODS, BUGGY.encode(): Buggy, UNBORN.encode(): Unborn}


def served(address: str, use: Use, *, methods: Mapping[bytes, Method] = METHODS) -> None:
    async def run() -> None:
        server = Server(methods, lambda: MAX_MESSAGE_BYTES)
        await server.listen(address)
        try:
            async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel, asyncio.timeout(SECONDS):
                await use(channel, server)
        finally:
            await server.stop(1)

    asyncio.run(run())


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s"


@contextlib.asynccontextmanager
async def raw_peer(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    try:
        yield reader, writer
    finally:
        writer.close()


def opened(path: str = ECHO, stream: int = 1, **fields: str) -> bytes:
    """`fields`: other values."""
    named = dict(REQUEST) | {":path": path} | {name.replace("_", "-"): value for name, value in fields.items()}
    return request(stream, list(named.items()))


def test_a_message_that_is_too_large_is_refused_by_its_length(address: str) -> None:
    prefix = b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        async with raw_peer(address) as (reader, writer):
            writer.write(GREETING + opened() + data(1, prefix))
            await reader.readuntil(b"grpc-status\x018")

    served(address, use, methods=FAILING)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (opened() + data(1, b"\0\0\0\0\x05hel", end=True), b"grpc-status\x0213"),
        (opened() + data(1, b"\0\0", end=True), b"grpc-status\x0213"),
        (opened() + data(1, b"\0\0\0\0\x05hel") + headers(1, b"", end=True), b"grpc-status\x0213"),
        (opened(content_type="text/html"), frame(frames.HEADERS, 5, 1, b"\0\x07:status\x03415")),
        (request(1, REQUEST[:4]), frame(frames.HEADERS, 5, 1, b"\0\x07:status\x03415")),
        (request(1, [(":method", "GET"), *REQUEST[1:]]), frame(frames.HEADERS, 5, 1, b"\0\x07:status\x03405")),
    ],
    ids=["half a message", "half a prefix", "half a message and trailers", "HTML", "no content type", "GET"],
)
def test_what_is_no_call(address: str, sent: bytes, expected: bytes) -> None:
    """It ends its stream; the next one is served."""

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        async with raw_peer(address) as (reader, writer):
            writer.write(GREETING + sent)
            await reader.readuntil(expected)
            writer.write(opened(stream=3) + data(3, b"\0\0\0\0\x05hello"))
            await reader.readuntil(data(3, b"\0\0\0\0\x05hello"))

    served(address, use, methods=FAILING)


def test_messages_in_one_frame_and_in_pieces(address: str) -> None:
    message = b"\0\0\0\0\x05hello"

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        async with raw_peer(address) as (reader, writer):
            pieces = [message * 2 + message[:3], message[3:7], message[7:] + message]
            writer.write(GREETING + opened() + b"".join(data(1, piece) for piece in pieces))
            for _ in range(4):
                await reader.readuntil(data(1, message))

    served(address, use, methods=FAILING)


@pytest.mark.parametrize("bug", [b"received", b"finished"])
def test_a_bug_ends_its_call_and_no_other(address: str, bug: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        Buggy.told = asyncio.Queue()
        bystander, call = stream(channel, ECHO), stream(channel, BUGGY)
        await bystander.write(b"before")
        assert await bystander.read() == b"before"
        with pytest.raises(grpc.aio.AioRpcError):
            await replies(call, bug)
        assert (await call.code(), await call.details()) == (grpc.StatusCode.INTERNAL, "processor failed")
        await bystander.write(b"after")
        assert await bystander.read() == b"after"
        assert (await Buggy.told.get(), Buggy.told.empty()) == ("closed", True)

    served(address, use, methods=FAILING)
    assert "call failed: ValueError at" in caplog.text and "on purpose" not in caplog.text


def test_a_call_that_cannot_begin(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        assert await stream(channel, UNBORN).code() is grpc.StatusCode.INTERNAL
        assert await replies(stream(channel, ECHO), b"x") == [b"x"]

    served(address, use, methods=FAILING)
    assert "call failed: ValueError at" in caplog.text


def test_every_call_is_closed_although_closing_one_fails(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a call took it must give back, or nothing is left for others."""

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        Buggy.told = asyncio.Queue()
        async with raw_peer(address) as (reader, writer):
            writer.write(GREETING)
            for number in range(1, 6, 2):
                writer.write(opened(BUGGY, number) + data(number, b"\0\0\0\0\x06closed"))
                await reader.readuntil(b"closed")
        assert [await Buggy.told.get() for _ in range(3)] == ["closed"] * 3

    served(address, use, methods=FAILING)
    assert "closing a call failed: ValueError at" in caplog.text


def test_garbage_ends_the_connection_and_no_other(address: str) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        assert await replies(stream(channel, ECHO), b"x") == [b"x"]
        async with raw_peer(address) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read())[-8:] == b"\0\0\0\0" + b"\0\0\0\x01"
        assert await replies(stream(channel, ECHO), b"x") == [b"x"]

    served(address, use, methods=FAILING)


def test_calls_that_come_while_draining_are_refused(address: str) -> None:
    """Envoy makes them anew elsewhere."""

    async def run() -> None:
        server = Server(METHODS)
        await server.listen(address)
        async with asyncio.timeout(SECONDS), raw_peer(address) as (reader, writer):
            writer.write(GREETING + opened() + data(1, b"\0\0\0\0\x01a"))
            await reader.readuntil(data(1, b"\0\0\0\0\x01a"))
            stopping = asyncio.create_task(server.stop(SECONDS))
            await reader.readuntil(frames.goaway(1, Code.NO_ERROR))
            writer.write(opened(stream=3))
            await reader.readuntil(frames.rst_stream(3, Code.REFUSED_STREAM))
            writer.write(data(1, b"\0\0\0\0\x01b", end=True))
            await reader.readuntil(data(1, b"\0\0\0\0\x01b"))
            await stopping

    asyncio.run(run())


LARGE = b"\0\0\0\x27\x10" + b"x" * 10_000


def flood(path: str, count: int) -> bytes:
    """Large messages of a client whose windows are wide open."""
    windows = frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW})
    windows += frames.window_update(0, frames.MAX_WINDOW - 65_535)
    return GREETING + windows + opened(path) + data(1, LARGE) * count


def test_a_peer_that_does_not_read_is_not_read_either(address: str) -> None:
    """Replies do not pile up. When it reads, all of them come."""
    total = 64 << 20

    async def send(client: socket.socket) -> int:
        loop, sent = asyncio.get_running_loop(), 0
        with contextlib.suppress(TimeoutError):
            while sent < total:
                await asyncio.wait_for(loop.sock_sendall(client, data(1, LARGE)), 0.5)
                sent += LARGE.count(b"x")
        return sent

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, address.removeprefix("unix:"))
            await loop.sock_sendall(client, flood(ECHO, 0))
            sent = await send(client)
            assert 0 < sent < total // 4
            received = 0
            while received < sent:
                received += (await loop.sock_recv(client, 1 << 20)).count(b"x")

    served(address, use, methods=FAILING)


class Large(Buggy):
    """Answers with more than a socket takes at a time."""

    def received(self, message: bytes) -> None:
        self.call.write(bytes(8 << 20))


def test_calls_end_with_their_connection_although_the_peer_does_not_read(address: str) -> None:
    methods = {BUGGY.encode(): Large}

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        Buggy.told = asyncio.Queue()
        async with asyncio.timeout(SECONDS / 2):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address.removeprefix("unix:"))
                client.sendall(flood(BUGGY, 1) + frames.window_update(0, 0))
                assert await Buggy.told.get() == "closed"

    served(address, use, methods=methods)


def test_a_peer_that_never_reads_again_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STALL_SECONDS", 0.1)

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        Buggy.told = asyncio.Queue()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.removeprefix("unix:"))
            client.setblocking(False)
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(client, flood(BUGGY, 1000))
            assert await Buggy.told.get() == "closed"

    served(address, use, methods=FAILING)


class Transport(asyncio.Transport):
    """Takes everything, and says that its buffer is full when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def test_a_peer_that_reads_again_is_not_given_up() -> None:
    async def run() -> None:
        loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
        peer, transport, call_later = Peer(Server({BUGGY.encode(): Buggy})), Transport(), loop.call_later

        def remembered(*given: Any) -> asyncio.TimerHandle:
            timers.append(call_later(*given))
            return timers[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_later", remembered)
            peer.connection_made(transport)
            peer.pause_writing()
            peer.data_received(GREETING)
            assert (transport.reading, transport.written) == (False, b"")
            peer.resume_writing()
        assert transport.reading and transport.written.endswith(frames.frame(frames.SETTINGS, frames.ACK, 0))
        assert [timer.cancelled() for timer in timers] == [True]

    asyncio.run(run())
