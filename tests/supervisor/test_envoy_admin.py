"""The client of Envoy's administration, with servers that answer, hang, break off and are not there."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from extproc.supervisor import envoy_admin
from extproc.supervisor.envoy_admin import EnvoyAdmin

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
seen: list[bytes] = []


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    seen.append(await reader.readuntil(b"\r\n\r\n"))
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\na: 1\n\r\n4\r\nb: 2\r\n0\r\n\r\n")
    await reader.read()


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\na: 1")


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="extproc-") as folder:
        yield Path(folder) / "admin.sock"


def asked(socket: Path, serve: Serve, ask: Callable[[EnvoyAdmin], Awaitable[list[str] | None]]) -> list[str] | None:
    async def scene() -> list[str] | None:
        over = asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()
            over.set()

        async with await asyncio.start_unix_server(connected, socket):
            answer = await ask(EnvoyAdmin(socket))
            await over.wait()
            return answer

    return asyncio.run(scene())


@pytest.mark.parametrize(("serve", "expected"), [(answers, ["a: 1", "b: 2"]), (hangs, []), (breaks_off, None)])
def test_what_it_makes_of_an_answer(
    socket: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, expected: list[str] | None
) -> None:
    monkeypatch.setattr(envoy_admin, "SECONDS", 0.2 if serve is hangs else 20)
    assert asked(socket, serve, lambda admin: admin.get("/stats?filter=a%7Cb")) == expected
    if serve is answers:
        assert seen.pop().startswith(b"GET /stats?filter=a%7Cb HTTP/1.1\r\n")


def test_a_change_is_posted(socket: Path) -> None:
    assert asked(socket, answers, lambda admin: admin.post("/healthcheck/fail"))
    assert seen.pop().startswith(b"POST /healthcheck/fail HTTP/1.1\r\n")


def test_no_envoy(socket: Path) -> None:
    assert asyncio.run(EnvoyAdmin(socket).get("/ready")) is None
