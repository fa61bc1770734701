"""The calls that `make bench` measures, and what each costs."""

import asyncio
from dataclasses import dataclass

from bench import bodies, load
from bench.mock import CHUNKS
from bench.stack import Stack, cpu

CONCURRENCY = 8
TWO = "two-stages"


@dataclass(frozen=True)
class Row:
    name: str
    request: bytes
    calls: int
    parts: int = 1
    """What the cost of a call is divided by."""
    compared: bool = True
    """The bare processor can carry it, too."""


def cost(stack: Stack, row: Row) -> tuple[float, float, load.Result]:
    """CPU of processor and Envoy, milliseconds for each part of a call."""
    asyncio.run(load.run(stack.port, row.request, max(CONCURRENCY, row.calls // 10), CONCURRENCY))
    before = cpu(stack.processor), cpu(stack.envoy)
    result = asyncio.run(load.run(stack.port, row.request, row.calls, CONCURRENCY))
    after = cpu(stack.processor), cpu(stack.envoy)
    costs = [(b - a) * 1000 / row.calls / row.parts for a, b in zip(before, after, strict=True)]
    return costs[0], costs[1], result


def rows(token: str, scale: float) -> list[Row]:
    def calls(n: int) -> int:
        return max(CONCURRENCY, int(n * scale))

    messages = "/v1/messages"
    return [
        Row("translated call, 1 KB", load.post(messages, token, bodies.small()), calls(3000)),
        Row("translated call, 61 KB", load.post(messages, token, bodies.large()), calls(2000)),
        Row("streamed chunk", load.post(messages, token, bodies.small(stream=True)), calls(160), CHUNKS),
        # The model has a list of providers, so that the call passes the processor once more at its provider.
        Row("two stages, 1 KB", load.post(messages, token, bodies.small(model=TWO)), calls(3000), compared=False),
        Row("two stages, 61 KB", load.post(messages, token, bodies.large(TWO)), calls(2000), compared=False),
        Row(
            "streamed chunk, two stages",
            load.post(messages, token, bodies.small(stream=True, model=TWO)),
            calls(160),
            CHUNKS,
            compared=False,
        ),
        Row("same dialect, 61 KB", load.post("/v1/chat/completions", token, bodies.chat()), calls(2000)),
        Row("passthrough, 1 KB", load.post("/files/x", token, bodies.small()), calls(3000), compared=False),
        Row("passthrough, 61 KB", load.post("/files/x", token, bodies.large()), calls(3000), compared=False),
    ]
