"""How much later a word of a stream arrives than it was sent, with so many streams of 20 words a second at a time:
`python -m bench.delays`, part of `make bench`."""

import asyncio
import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import bodies, load
from bench.alone import envoy_alone
from bench.mock import PACED_SECONDS
from bench.stack import Stack, gateway, mock_model

STREAMS = (200, 600)
START_SECONDS = 2.0
"""Over which streams begin; words of that time do not count, nor the last ones."""
LAST_CHUNK = b"0\r\n\r\n"
_STAMP = re.compile(rb"@(\d+)@")


async def _stream(port: int, request: bytes, wait: float, seen: list[tuple[int, int]]) -> bool:
    """Whether it ended as it should. Appends (sent, received), nanoseconds of the same clock."""
    await asyncio.sleep(wait)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer, read = bytearray(), 0
    while not answer.endswith(LAST_CHUNK) and (data := await reader.read(65536)):
        now = time.monotonic_ns()
        answer += data
        for stamp in _STAMP.finditer(answer, read):
            seen.append((int(stamp[1]), now))
            read = stamp.end()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(LAST_CHUNK)


async def _together(port: int, token: str, streams: int) -> list[float]:
    """Delays in milliseconds, sorted, of the words sent while all streams ran."""
    request = load.post("/v1/messages", token, bodies.paced())
    seen: list[tuple[int, int]] = []
    begun = time.monotonic_ns()
    ended = await asyncio.gather(*(_stream(port, request, START_SECONDS * n / streams, seen) for n in range(streams)))
    assert all(ended), f"{ended.count(False)} of {streams} streams were cut"
    first, last = begun + START_SECONDS * 1e9, begun + PACED_SECONDS * 1e9
    return sorted((received - sent) / 1e6 for sent, received in seen if first < sent < last)


def main() -> None:
    print(
        "\n| streams of 20 words a second | word delayed, p50 ms | p99 ms | Envoy alone, p50 ms | p99 ms | CPU, cores |"
    )
    print("|---|---|---|---|---|---|")
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        mock = opened.enter_context(mock_model())
        stack = opened.enter_context(gateway(folders[0], mock, workers=2))
        alone = opened.enter_context(envoy_alone(folders[1], mock))
        for streams in STREAMS:
            ours, cores = _measured(stack, streams)
            bare = asyncio.run(_together(alone, "none", streams))
            values = [load.quantile(delays, q) for delays in (ours, bare) for q in (0.5, 0.99)]
            print(f"| {streams} | {' | '.join(f'{value:.1f}' for value in values)} | {cores:.2f} |", flush=True)


def _measured(stack: Stack, streams: int) -> tuple[list[float], float]:
    before, begun = stack.cpu(), time.monotonic()
    delays = asyncio.run(_together(stack.port, stack.token, streams))
    return delays, (stack.cpu() - before) / (time.monotonic() - begun)


if __name__ == "__main__":
    main()
