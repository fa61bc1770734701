"""What the network gets to see of a processor: certificates, limits, and no word of what went wrong inside."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from extproc.config.processor_tls import ServerTls
from extproc.config.schema import Config
from extproc.transport import grpcio
from extproc.transport.calls import MESSAGE_MARGIN_BYTES
from extproc.transport.grpcio import GrpcioServer
from tests.certificates import Authority
from tests.e2e.stack import free_port
from tests.settings import source
from tests.transport import test_calls as shared
from tests.transport.test_calls import CANNOT_BEGIN, ECHO, RAISES, SECONDS, Carrier, replies, server_tls, stream

SMALL = shared.GATEWAY.replace("67108864", "1024") + "limits: {calls: 1}\n"
Use = Callable[[str, Carrier], Awaitable[None]]


def served(folder: Path, use: Use, *, secured: bool = True) -> None:
    """On a port, with the certificates that `carrier.tls` has at the moment."""

    async def run() -> None:
        tls = issued(folder) if secured else None
        carrier = Carrier("", folder, source(folder, SMALL).config, tls)

        def current() -> tuple[Config, ServerTls | None]:
            return carrier.settings, carrier.tls

        server = GrpcioServer(shared.METHODS, current)
        address = f"127.0.0.1:{await server.listen('127.0.0.1:0')}"
        async with asyncio.timeout(SECONDS):
            await use(address, carrier)
        await server.stop(0)

    asyncio.run(run())


def issued(folder: Path) -> ServerTls:
    authority = Authority(folder)
    authority.issue("processor", "127.0.0.1")
    authority.issue("envoy")
    return server_tls(folder)


async def echoes(channel: grpc.aio.Channel) -> bool:
    """Whether a call is served; if it is not, nothing of it was."""
    async with channel:
        try:
            return await replies(stream(channel, ECHO), b"x") == [b"x"]
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False


@pytest.mark.parametrize("path", [RAISES, CANNOT_BEGIN])
def test_a_bug_ends_its_call_with_constant_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], path: str
) -> None:
    async def use(address: str, carrier: Carrier) -> None:
        async with carrier.channel(address) as channel:
            call = stream(channel, path)
            await call.write(b"x")
            assert (await call.code(), await call.details()) == (grpc.StatusCode.INTERNAL, "processor failed")
            assert await replies(stream(channel, ECHO), b"x") == [b"x"]

    with caplog.at_level(logging.INFO):
        served(tmp_path, use)
    # grpcio's own poller may log that its event loop has been closed by then.
    logged = "\n".join(
        record.getMessage() + str(record.exc_info) for record in caplog.records if record.name == "extproc"
    )
    printed = logged + "".join(capfd.readouterr())
    assert "ValueError" in logged and "a secret" not in printed and "Traceback" not in printed


def test_a_message_beyond_the_largest_body_is_refused(tmp_path: Path) -> None:
    largest = 1024 + MESSAGE_MARGIN_BYTES

    async def use(address: str, carrier: Carrier) -> None:
        async with carrier.channel(address) as channel:
            assert await replies(stream(channel, ECHO), bytes(largest)) == [bytes(largest)]
            call = stream(channel, ECHO)
            await call.write(bytes(largest + 1))
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    served(tmp_path, use)


def test_calls_are_limited(tmp_path: Path) -> None:
    """`limits.calls` is 1, and twice as many are carried; policy refuses before that, in the client's dialect."""

    async def use(address: str, carrier: Carrier) -> None:
        # The server's limit for a connection would make a third call wait, so each has a connection of its own.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(3)]
        calls = [stream(channel, ECHO) for channel in channels[:2]]
        for call in calls:
            await call.write(b"x")
            assert await call.read() == b"x"
        assert await stream(channels[2], ECHO).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for channel in channels:
            await channel.close()

    served(tmp_path, use, secured=False)


@pytest.mark.parametrize("who", ["another authority's", "no certificate", "plaintext", "of nobody at all"])
def test_who_has_no_certificate_of_the_authority_is_refused(tmp_path: Path, who: str) -> None:
    other = Authority(tmp_path / "other")
    other.issue("envoy")

    async def use(address: str, carrier: Carrier) -> None:
        ca = (tmp_path / "ca.pem").read_bytes()
        stranger = ((tmp_path / f"other/envoy.{kind}").read_bytes() for kind in ("key", "pem"))
        credentials = {
            "another authority's": lambda: grpc.ssl_channel_credentials(ca, *stranger),
            "no certificate": lambda: grpc.ssl_channel_credentials(ca),
        }
        if who in credentials:
            assert not await echoes(grpc.aio.secure_channel(address, credentials[who]()))
        elif who == "plaintext":
            assert not await echoes(grpc.aio.insecure_channel(address))
        else:
            await closed_after(address, b"\x16\x03\x01\xff\xff garbage")
        assert await echoes(carrier.channel(address)), "and who has one is not"

    served(tmp_path, use)


async def closed_after(address: str, data: bytes) -> None:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await reader.read()
    writer.close()


def test_who_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpcio, "HANDSHAKE_MILLISECONDS", 200)

    async def use(address: str, carrier: Carrier) -> None:
        await closed_after(address, b"")
        assert await echoes(carrier.channel(address))

    served(tmp_path, use)


def test_connections_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpcio, "CONNECTIONS", 2)
    monkeypatch.setattr(grpcio, "HANDSHAKE_MILLISECONDS", 600_000)

    async def use(address: str, carrier: Carrier) -> None:
        host, _, port = address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        await closed_after(address, b"")
        for _, writer in silent:
            writer.close()
        while not await echoes(carrier.channel(address)):
            pass

    served(tmp_path, use)


def test_certificates_are_renewed_while_it_serves(tmp_path: Path) -> None:
    async def use(address: str, carrier: Carrier) -> None:
        before = await presented(address)
        async with carrier.channel(address) as kept:
            assert await replies(stream(kept, ECHO), b"x") == [b"x"]
            former = carrier.channel(address)
            carrier.tls = issued(tmp_path)
            assert await presented(address) != before
            assert await echoes(carrier.channel(address))
            assert not await echoes(former), "the former authority's certificates are no longer taken"
            assert await replies(stream(kept, ECHO), b"x") == [b"x"], "connections go on"
        carrier.tls = None
        assert not await echoes(grpc.aio.insecure_channel(address)), "a port with TLS never becomes one without"

    served(tmp_path, use)


def test_a_connection_is_made_anew_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a certificate that is no longer taken is of use for a while at most. What runs goes on."""
    monkeypatch.setattr(grpcio, "CONNECTION_MILLISECONDS", 200)

    async def use(address: str, carrier: Carrier) -> None:
        async with carrier.channel(address) as channel:
            running = stream(channel, ECHO)
            await running.write(b"before")
            assert await running.read() == b"before"
            ready = grpc.ChannelConnectivity.READY
            while (state := channel.get_state()) is not ready:
                await channel.wait_for_state_change(state)
            await channel.wait_for_state_change(ready)  # the server has asked it to go
            carrier.tls = issued(tmp_path)
            await running.write(b"after")
            assert await running.read() == b"after"
            assert not await echoes(channel), "the connection is new, and its certificate is not"

    served(tmp_path, use)


async def presented(address: str) -> bytes | None:
    """The server's certificate, as whoever has none sees it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async def run() -> None:
        settings = source(tmp_path, SMALL).config
        address = f"127.0.0.1:{free_port()}"
        first, second = (GrpcioServer(shared.METHODS, lambda: (settings, None)) for _ in range(2))
        await first.listen(address)
        with pytest.raises(OSError, match="no server can be started"):
            await second.listen(address)
        await second.stop(0)
        await first.stop(0)

    asyncio.run(run())
