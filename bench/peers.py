"""`make bench-peers`: the same calls through this gateway and through others, one after the other in one run."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import bodies, load, rivals
from bench.mock import CHUNKS
from bench.stack import cpu, gateway, machine, mock_model

CONCURRENCY = 8
ROUNDS = 3
"""Each gateway takes its turn so often; the median counts, so that a busy moment of the machine does not."""


@dataclass(frozen=True)
class Contender:
    name: str
    port: int
    token: str
    cpu: Callable[[], float]
    """Seconds so far, with all that a call goes through but the model."""
    memory: Callable[[], int]
    start_seconds: float


@dataclass(frozen=True)
class Work:
    name: str
    body: bytes
    calls: int
    parts: int = 1


def works(scale: float) -> list[Work]:
    def calls(n: int) -> int:
        return max(CONCURRENCY, int(n * scale))

    return [
        Work("JSON call, 1 KB", bodies.small(), calls(400)),
        Work("JSON call, 61 KB", bodies.large(), calls(200)),
        Work("streamed chunk", bodies.small(stream=True), calls(40), CHUNKS),
    ]


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with ExitStack() as opened:

        def folder() -> Path:
            return Path(opened.enter_context(tempfile.TemporaryDirectory()))

        mock = opened.enter_context(mock_model())
        ours = opened.enter_context(gateway(folder(), mock))
        contenders = [
            Contender(
                "extproc and Envoy",
                ours.port,
                ours.token,
                lambda: cpu(ours.processor) + cpu(ours.envoy),
                lambda: ours.processor.memory_info().rss + ours.envoy.memory_info().rss,
                ours.start_seconds,
            )
        ]
        for start in (rivals.litellm, rivals.claude_code_router):
            rival = opened.enter_context(start(folder(), mock))
            contenders.append(
                Contender(rival.name, rival.port, rivals.KEY, rival.cpu, rival.memory, rival.start_seconds)
            )
        report(contenders, works(scale))


def report(contenders: list[Contender], all_works: list[Work]) -> None:
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {CONCURRENCY} clients, median of {ROUNDS} rounds in turn\n")
    names = " | ".join(f"{one.name}, CPU ms" for one in contenders)
    print(f"| | {names} | {' | '.join(f'{one.name}, times ours' for one in contenders[1:])} |")
    print("|---" * (2 * len(contenders)) + "|")
    for work in all_works:
        costs = [[_cost(one, work) for one in contenders] for _ in range(ROUNDS)]
        median = [sorted(column)[ROUNDS // 2] for column in zip(*costs, strict=True)]
        ratios = [f"{cost / median[0]:.1f}" for cost in median[1:]]
        print(f"| {work.name} | {' | '.join(f'{cost:.3f}' for cost in median)} | {' | '.join(ratios)} |", flush=True)
    print(f"| start, s | {' | '.join(f'{one.start_seconds:.1f}' for one in contenders)} | | |")
    print(f"| resident memory, MB | {' | '.join(f'{one.memory() / 1e6:.0f}' for one in contenders)} | | |")


def _cost(contender: Contender, work: Work) -> float:
    """CPU milliseconds for each part of a call, the mock's and the clients' left out."""
    request = load.post("/v1/messages", contender.token, work.body)
    asyncio.run(load.run(contender.port, request, CONCURRENCY, CONCURRENCY))
    before = contender.cpu()
    asyncio.run(load.run(contender.port, request, work.calls, CONCURRENCY))
    return (contender.cpu() - before) * 1000 / work.calls / work.parts


if __name__ == "__main__":
    main()
