"""A closed loop of calls over kept-alive connections."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    calls: int
    seconds: float
    latencies: list[float]
    """Seconds, sorted."""

    def quantile(self, q: float) -> float:
        """Milliseconds."""
        return quantile(self.latencies, q) * 1000


def quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def run(port: int, request: bytes, calls: int, concurrency: int) -> Result:
    """Raises AssertionError when an answer is not a 200."""
    remaining = iter(range(calls))
    latencies: list[float] = []

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        for _ in remaining:
            began = time.perf_counter()
            writer.write(request)
            await _read_answer(reader)
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return Result(calls, time.perf_counter() - began, sorted(latencies))


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b" 200 " in head.partition(b"\r\n")[0], head
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
        return
    length = next(int(field[15:]) for field in head.split(b"\r\n") if field.startswith(b"content-length:"))
    await reader.readexactly(length)


def post(path: str, token: str, body: bytes) -> bytes:
    fields = [
        f"POST {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {token}",
        "content-type: application/json",
        "anthropic-version: 2023-06-01",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body
