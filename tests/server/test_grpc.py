"""The gRPC server against grpcio's client, over real sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.server import health
from extproc.server.calls import Call, Method, Status
from extproc.server.grpc import Server

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
ECHO, HANGS, FAILS = "/t.T/Echo", "/t.T/Hangs", "/t.T/Fails"
SECONDS = 20
MAX_MESSAGE_BYTES = 40 << 20


class Echo:
    def __init__(self, call: Call) -> None:
        self.call = call

    def received(self, message: bytes) -> None:
        self.call.write(message)

    def finished(self) -> None:
        self.call.end()

    def closed(self) -> None: ...


class Hangs(Echo):
    """Answers nothing, and tells the test what happens."""

    told: asyncio.Queue[str]

    def received(self, message: bytes) -> None:
        self.told.put_nowait("received")

    def finished(self) -> None: ...
    def closed(self) -> None:
        self.told.put_nowait("closed")


class Fails(Echo):
    def received(self, message: bytes) -> None:
        self.call.write(message)
        self.call.end(Status.INTERNAL, "on purpose")
        self.call.write(b"too late")
        self.call.end()


METHODS: dict[bytes, Method] = {ECHO.encode(): Echo, HANGS.encode(): Hangs, FAILS.encode(): Fails}
Use = Callable[[grpc.aio.Channel, Server], Awaitable[None]]


def served(
    address: str, use: Use, *, status: health.Health | None = None, methods: Mapping[bytes, Method] = METHODS
) -> None:
    async def run() -> None:
        check = (status or health.Health(lambda: True)).check
        server = Server({**methods, health.CHECK: check}, lambda: MAX_MESSAGE_BYTES)
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


def stream(channel: grpc.aio.Channel, path: str, **options: Any) -> Any:
    return channel.stream_stream(path)(**options)


async def said(call: Any, *messages: bytes) -> list[bytes]:
    for message in messages:
        await call.write(message)
    await call.done_writing()
    return [message async for message in call]


SIZES = [0, 1, 16_379, 16_384, 70_000, 5 << 20, MAX_MESSAGE_BYTES]


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_any_size_come_back(address: str, size: int) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        call = stream(channel, ECHO)
        message = bytes(size)
        assert await said(call, message, b"next") == [message, b"next"]
        assert await call.code() is grpc.StatusCode.OK

    served(address, use)


def test_many_calls_share_a_connection(address: str) -> None:
    async def one(channel: grpc.aio.Channel, number: int) -> None:
        messages = [b"%d.%d" % (number, i) * 1000 for i in range(20)]
        assert await said(stream(channel, ECHO), *messages) == messages

    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        await asyncio.gather(*(one(channel, number) for number in range(100)))
        assert len(server.peers) == 1
        assert all(peer.idle for peer in server.peers)

    served(address, use)


def test_over_tcp() -> None:
    async def run() -> None:
        server = Server(METHODS)
        await server.listen("127.0.0.1:0")
        assert server._listener is not None
        port = server._listener.sockets[0].getsockname()[1]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await said(stream(channel, ECHO), b"x") == [b"x"]
        await server.stop(1)

    asyncio.run(run())


def test_a_failure_comes_with_its_words_and_nothing_after_it(address: str) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        call = stream(channel, FAILS)
        await call.write(b"x")
        assert await call.read() == b"x"
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert (await call.code(), await call.details()) == (grpc.StatusCode.INTERNAL, "on purpose")

    served(address, use)


@pytest.mark.parametrize("path", ["/t.T/None", "/none"])
def test_a_method_that_is_not_there(address: str, path: str) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        assert await stream(channel, path).code() is grpc.StatusCode.UNIMPLEMENTED

    served(address, use)


def test_compression_was_not_offered(address: str) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        call = stream(channel, ECHO, compression=grpc.Compression.Gzip)
        await call.write(b"x" * 1000)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

    served(address, use)


def test_a_call_that_is_given_up_is_closed_once(address: str) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        Hangs.told = asyncio.Queue()
        calls = [stream(channel, HANGS) for _ in range(2)]
        for call in calls:
            await call.write(b"x")
        assert [await Hangs.told.get() for _ in calls] == ["received"] * 2
        for call in calls:
            call.cancel()
        assert [await Hangs.told.get() for _ in calls] == ["closed"] * 2
        assert await said(stream(channel, ECHO), b"x") == [b"x"]
        assert Hangs.told.empty()

    served(address, use)


def test_who_leaves_finishes_what_runs(address: str) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        call = stream(channel, ECHO)
        await call.write(b"before")
        assert await call.read() == b"before"
        stopping = asyncio.create_task(server.stop(SECONDS))
        await call.write(b"after")
        assert await call.read() == b"after"
        assert not stopping.done()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        await stopping
        assert not server.peers

    async def run() -> None:
        server = Server(METHODS)
        await server.listen(address)
        async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(SECONDS):
            await use(channel, server)

    asyncio.run(run())


def test_who_must_leave_does_not_wait_for_ever(address: str) -> None:
    async def run() -> None:
        server = Server(METHODS)
        await server.listen(address)
        async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(SECONDS):
            Hangs.told = asyncio.Queue()
            call = stream(channel, HANGS)
            await call.write(b"x")
            await Hangs.told.get()
            await server.stop(0.2)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(run())


@pytest.mark.parametrize("serving", [True, False])
def test_health(address: str, serving: bool) -> None:
    async def use(channel: grpc.aio.Channel, server: Server) -> None:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        expected = health_pb2.HealthCheckResponse
        assert answer.status == (expected.SERVING if serving else expected.NOT_SERVING)

    status = health.Health(lambda: True)
    status.serving = serving
    served(address, use, status=status)
