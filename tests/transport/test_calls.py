"""What a service may rely on, whichever server carries its calls: the built-in one, or grpcio with and without TLS."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.config.processor_tls import ServerTls
from extproc.config.schema import Config
from extproc.transport import health
from extproc.transport.builtin.grpc import Server
from extproc.transport.calls import Call, Method, Status
from extproc.transport.grpcio import GrpcioServer
from tests.certificates import Authority
from tests.settings import source

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
ECHO, HANGS, FAILS, RAISES, CANNOT_BEGIN = (
    "/t.T/Echo",
    "/t.T/Hangs",
    "/t.T/Fails",
    "/t.T/Raises",
    "/t.T/CannotBegin",
)
SECONDS = 20
Stream = Any  # grpc.aio.StreamStreamCall[bytes, bytes]


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

    seen: asyncio.Queue[str]

    def received(self, message: bytes) -> None:
        self.seen.put_nowait("received")

    def finished(self) -> None: ...
    def closed(self) -> None:
        self.seen.put_nowait("closed")


class Fails(Echo):
    def received(self, message: bytes) -> None:
        self.call.write(message)
        self.call.end(Status.INTERNAL, "on purpose")
        self.call.write(b"too late")
        self.call.end()


class Later(Echo):
    """Replies by itself, after its message has been handled."""

    def received(self, message: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.call.write, message)


class Raises(Echo):
    def received(self, message: bytes) -> None:
        raise ValueError("a secret")


def cannot_begin(call: Call) -> Echo:
    raise ValueError("a secret")


METHODS: dict[bytes, Method] = {
    ECHO.encode(): Echo,
    HANGS.encode(): Hangs,
    FAILS.encode(): Fails,
    RAISES.encode(): Raises,
    CANNOT_BEGIN.encode(): cannot_begin,
    b"/t.T/Later": Later,
}


@dataclass
class Carrier:
    """A kind of server, and how a client connects to it."""

    kind: str
    folder: Path
    settings: Config
    tls: ServerTls | None = None

    async def start(self, methods: dict[bytes, Method]) -> tuple[Server | GrpcioServer, grpc.aio.Channel]:
        if self.kind == "builtin":
            builtin = Server(methods)
            await builtin.listen(f"unix:{self.folder}/s")
            return builtin, grpc.aio.insecure_channel(f"unix:{self.folder}/s", options=OPTIONS)
        server = GrpcioServer(methods, lambda: (self.settings, self.tls))
        address = f"127.0.0.1:{await server.listen('127.0.0.1:0')}"
        return server, self.channel(address)

    def channel(self, address: str, client: str = "envoy") -> grpc.aio.Channel:
        if self.tls is None:
            return grpc.aio.insecure_channel(address, options=OPTIONS)
        ca, certificate, key = ((self.folder / n).read_bytes() for n in ("ca.pem", f"{client}.pem", f"{client}.key"))
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca, key, certificate), options=OPTIONS)


def server_tls(folder: Path) -> ServerTls:
    return ServerTls(*((folder / name).read_bytes() for name in ("processor.pem", "processor.key", "ca.pem")))


@pytest.fixture(params=["builtin", "grpcio", "grpcio with TLS"])
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Carrier:
    settings = source(tmp_path, GATEWAY).config
    if request.param != "grpcio with TLS":
        return Carrier(request.param, tmp_path, settings)
    authority = Authority(tmp_path)
    authority.issue("processor", "127.0.0.1")
    authority.issue("envoy")
    return Carrier(request.param, tmp_path, settings, server_tls(tmp_path))


GATEWAY = """
authentication: {}
providers: {local: {dialects: [chat], base_url: "http://127.0.0.1:1/v1"}}
max_body_bytes: 67108864
"""
Use = Callable[[grpc.aio.Channel, Any], Awaitable[None]]


def served(carrier: Carrier, use: Use, **more: Method) -> None:
    async def run() -> None:
        server, channel = await carrier.start(METHODS | {name.encode(): method for name, method in more.items()})
        try:
            async with channel, asyncio.timeout(SECONDS):
                await use(channel, server)
        finally:
            await server.stop(1)

    asyncio.run(run())


def stream(channel: grpc.aio.Channel, path: str, **options: Any) -> Stream:
    return channel.stream_stream(path)(**options)


async def replies(call: Stream, *messages: bytes) -> list[bytes]:
    for message in messages:
        await call.write(message)
    await call.done_writing()
    return [message async for message in call]


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 70_000, 5 << 20, 40 << 20])
def test_messages_of_any_size_come_back(carrier: Carrier, size: int) -> None:
    async def use(channel: grpc.aio.Channel, _: object) -> None:
        call = stream(channel, ECHO)
        message = bytes(size)
        assert await replies(call, message, b"next") == [message, b"next"]
        assert await call.code() is grpc.StatusCode.OK

    served(carrier, use)


def test_many_calls_share_a_connection(carrier: Carrier) -> None:
    async def one(channel: grpc.aio.Channel, number: int) -> None:
        messages = [b"%d.%d" % (number, i) * 1000 for i in range(20)]
        assert await replies(stream(channel, ECHO), *messages) == messages

    async def use(channel: grpc.aio.Channel, _: object) -> None:
        await asyncio.gather(*(one(channel, number) for number in range(50)))

    served(carrier, use)


def test_a_service_may_reply_whenever_it_likes(carrier: Carrier) -> None:
    async def use(channel: grpc.aio.Channel, _: object) -> None:
        call = stream(channel, "/t.T/Later")
        for message in (b"one", b"two"):
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    served(carrier, use)


def test_more_replies_than_may_wait_for_the_peer(carrier: Carrier) -> None:
    """The peer reads nothing until it has sent everything; then all of it comes, in order."""
    messages = [b"%d" % number * 100 for number in range(300)]

    async def use(channel: grpc.aio.Channel, _: object) -> None:
        assert await replies(stream(channel, ECHO), *messages) == messages

    served(carrier, use)


def test_a_failure_comes_with_its_text_and_nothing_after_it(carrier: Carrier) -> None:
    async def use(channel: grpc.aio.Channel, _: object) -> None:
        call = stream(channel, FAILS)
        await call.write(b"x")
        assert await call.read() == b"x"
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert (await call.code(), await call.details()) == (grpc.StatusCode.INTERNAL, "on purpose")

    served(carrier, use)


@pytest.mark.parametrize("path", ["/t.T/None", "/none"])
def test_a_method_that_is_not_there(carrier: Carrier, path: str) -> None:
    async def use(channel: grpc.aio.Channel, _: object) -> None:
        assert await stream(channel, path).code() is grpc.StatusCode.UNIMPLEMENTED

    served(carrier, use)


def test_compression_is_not_offered(carrier: Carrier) -> None:
    async def use(channel: grpc.aio.Channel, _: object) -> None:
        # A stream's first message may find the call ended already, which grpcio reports as a fault of its own.
        ask: Any = channel.unary_unary(ECHO)
        call = ask(b"x" * 1000, compression=grpc.Compression.Gzip)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

    served(carrier, use)


def test_a_call_that_is_given_up_is_closed_once(carrier: Carrier) -> None:
    async def use(channel: grpc.aio.Channel, _: object) -> None:
        Hangs.seen = asyncio.Queue()
        calls = [stream(channel, HANGS) for _ in range(2)]
        for call in calls:
            await call.write(b"x")
        assert [await Hangs.seen.get() for _ in calls] == ["received"] * 2
        for call in calls:
            call.cancel()
        assert [await Hangs.seen.get() for _ in calls] == ["closed"] * 2
        assert await replies(stream(channel, ECHO), b"x") == [b"x"]
        assert Hangs.seen.empty()

    served(carrier, use)


def test_leaving_finishes_what_runs(carrier: Carrier) -> None:
    async def use(channel: grpc.aio.Channel, server: Any) -> None:
        call = stream(channel, ECHO)
        await call.write(b"before")
        assert await call.read() == b"before"
        stopping = asyncio.create_task(server.stop(SECONDS))
        await call.write(b"after")
        assert await call.read() == b"after"
        assert not stopping.done()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await stopping

    served(carrier, use)


def test_leaving_does_not_wait_for_ever(carrier: Carrier) -> None:
    async def use(channel: grpc.aio.Channel, server: Any) -> None:
        Hangs.seen = asyncio.Queue()
        call = stream(channel, HANGS)
        await call.write(b"x")
        await Hangs.seen.get()
        await server.stop(0.2)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert await Hangs.seen.get() == "closed"

    served(carrier, use)


@pytest.mark.parametrize("serving", [True, False])
def test_health(carrier: Carrier, serving: bool) -> None:
    status = health.Health(lambda: True)
    status.serving = serving

    async def use(channel: grpc.aio.Channel, _: object) -> None:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        expected = health_pb2.HealthCheckResponse
        assert answer.status == (expected.SERVING if serving else expected.NOT_SERVING)

    served(carrier, use, **{health.CHECK.decode(): status.check})
