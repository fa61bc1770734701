"""The client of Envoy's administration, with servers that answer, hang, break off and are not there."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from extproc.supervisor import envoy_admin
from extproc.supervisor.envoy_admin import EnvoyAdmin, Stats

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
T = TypeVar("T")
seen: list[bytes] = []


STATS = b'{"stats":[{"name":"a","value":1},{"name":"b","value":"x: y"},{"histograms":{"supported_quantiles":[0,25]}}]}'


def answering(status: bytes, body: bytes = b"") -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        # Envoy sends chunks, wherever they end.
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]) if part)
        writer.write(b"HTTP/1.1 " + status + b"\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        await reader.read()

    return serve


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\na: 1")


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="extproc-") as folder:
        yield Path(folder) / "admin.sock"


def asked(socket: Path, serve: Serve, ask: Callable[[EnvoyAdmin], Awaitable[T]]) -> T:
    async def scene() -> T:
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


@pytest.mark.parametrize(
    ("serve", "expected"),
    [(answering(b"200 OK", STATS), {"a": "1", "b": "x: y"}), (hangs, {}), (breaks_off, None)],
    ids=["answers", "hangs", "breaks off"],
)
def test_statistics(socket: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, expected: Stats | None) -> None:
    monkeypatch.setattr(envoy_admin, "SECONDS", 0.2 if serve is hangs else 20)
    seen.clear()
    assert asked(socket, serve, lambda admin: admin.stats(["a.b", "c"])) == expected
    if expected:
        assert seen.pop().startswith(b"GET /stats?format=json&filter=a%5C.b%7Cc HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("serve", "ready"),
    [
        (answering(b"200 OK", b"LIVE\n"), True),
        (answering(b"503 Service Unavailable", b"DRAINING\n"), False),
        (hangs, False),
        (breaks_off, False),
    ],
    ids=["live", "draining", "hangs", "breaks off"],
)
def test_readiness(socket: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, ready: bool) -> None:
    monkeypatch.setattr(envoy_admin, "SECONDS", 0.2 if serve is hangs else 20)
    assert asked(socket, serve, lambda admin: admin.ready()) is ready


def test_a_change_is_posted(socket: Path) -> None:
    asked(socket, answering(b"200 OK"), lambda admin: admin.post("/healthcheck/fail"))
    assert seen.pop().startswith(b"POST /healthcheck/fail HTTP/1.1\r\n")


def test_no_envoy(socket: Path) -> None:
    admin = EnvoyAdmin(socket)
    assert asyncio.run(admin.stats(["a"])) is None and not asyncio.run(admin.ready())
    asyncio.run(admin.post("/healthcheck/fail"))
