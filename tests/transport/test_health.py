"""The supervisor's question to a worker, put to grpcio's server, to ours, and to what is none."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio

from extproc.transport import health
from extproc.transport.builtin.grpc import Server
from extproc.transport.grpcio import GrpcioServer
from tests.e2e.stack import free_port
from tests.settings import GATEWAY, source

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("where", ["unix", "port"])
def test_a_worker_that_serves_and_one_that_leaves(where: str, tmp_path: Path) -> None:
    async def scene() -> None:
        status = health.Health(lambda: True)
        address = f"unix:{tmp_path}/s" if where == "unix" else f"127.0.0.1:{free_port()}"
        methods, settings = {health.CHECK: status.check}, source(tmp_path, GATEWAY).config
        server = Server(methods) if where == "unix" else GrpcioServer(methods, lambda: (settings, None))
        await server.listen(address)
        for serving in (True, False, True):
            status.serving = serving
            assert await health.serving(address) is serving
        await server.stop(1)
        assert not await health.serving(address)

    asyncio.run(scene())


@pytest.mark.parametrize("serving", [True, False])
def test_as_another_server_understands_it(serving: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        server = grpc.aio.server()
        status = aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        server.add_insecure_port(f"unix:{tmp_path}/s")
        await server.start()
        await status.set("", SERVING if serving else NOT_SERVING)
        assert await health.serving(f"unix:{tmp_path}/s") is serving
        await server.stop(0)

    asyncio.run(scene())


@pytest.mark.parametrize("serving", [True, False])
def test_the_command(serving: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        status = health.Health(lambda: serving)
        status.serving = True
        server = Server({health.CHECK: status.check})
        await server.listen(f"unix:{tmp_path}/s")
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "extproc", "health", "--processor", f"unix:{tmp_path}/s"
        )
        assert await asked.wait() == (0 if serving else 1)
        await server.stop(1)

    asyncio.run(scene())


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers that end the stream, as of a server without such a service."""
    writer.write(b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\0\x01\x05\0\0\0\x01")
    await reader.read()
    writer.close()


@pytest.mark.parametrize("behaviour", [closes, hangs, says_nothing])
def test_what_does_not_answer_does_not_serve(
    behaviour: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.2)

    async def scene() -> None:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await behaviour(reader, writer)
            await writer.wait_closed()
            over.set()

        async with await asyncio.start_unix_server(serve, tmp_path / "s"):
            assert not await health.serving(f"unix:{tmp_path}/s")
            await over.wait()

    asyncio.run(scene())
