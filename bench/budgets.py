"""What budgets cost a call, with counters on this machine and with Redis, and what prices and the ledger cost beside.
Part of `make bench`; alone: `python -m bench.budgets 0.4`. Rows with Redis need a redis-server or valkey-server on the
PATH.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median

import psutil
import redis

from bench import bodies, load
from bench.in_process import Worker, paired
from bench.stack import Stack, cpu, free_port, gateway, mock_model

RECORDS = """
prices: {overrides: [{model: "*", input: 1, output: 1}]}
usage: {}
"""
LIMITS = """
budgets:
  - {name: team, key: jwt.team, limit: {usd: 500000, tokens: 1000000000000}, per: month}
  - {name: person, key: jwt.sub, limit: {requests: 1000000000}, per: day}
"""
"""Three limits in two budgets, of which slices last."""
SHARED = 'store: {{redis: {{url: "redis://localhost:{port}/0"}}}}\n'
NOTHING, RECORDED, BUDGETS = "nothing", "prices and ledger", "prices, ledger and budgets"
ROWS = {NOTHING: "", RECORDED: RECORDS, BUDGETS: RECORDS + LIMITS}
REDIS = "the same, with Redis"
ROUNDS = 30
CALLS = 500
CALLS_IN_PROCESS = 20_000
CONCURRENCY = 8


@contextmanager
def redis_server(folder: Path) -> Iterator[int | None]:
    """The port of a server on loopback; None: there is none on this machine."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        yield None
        return
    port = free_port()
    argv = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "the server did not start"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


def through_envoy(stack: Stack, calls: int) -> tuple[float, float, float]:
    """CPU of the worker and of the supervisor, in us for each call, and the median of one client's waiting, in ms."""
    request = load.post("/v1/messages", stack.token, bodies.small())
    processes = stack.processor, psutil.Process(stack.supervisor)
    before = [cpu(process) for process in processes]
    asyncio.run(load.run(stack.port, request, calls, CONCURRENCY))
    after = [cpu(process) for process in processes]
    waited = asyncio.run(load.run(stack.port, request, max(1, calls // 10), 1)).quantile(0.5)
    worker, supervisor = ((b - a) * 1e6 / calls for a, b in zip(before, after, strict=True))
    return worker, supervisor, waited


def scripts(port: int, stack: Stack, calls: int) -> float:
    """How many scripts Redis runs for each call, one client asking: one before it, and one after."""
    client = redis.Redis(port=port)

    def ran() -> int:
        found = client.info("commandstats")
        return sum(found.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))

    before = ran()
    asyncio.run(load.run(stack.port, load.post("/v1/messages", stack.token, bodies.small()), calls, 1))
    return (ran() - before) / calls


def report(mock: int, scale: float) -> None:
    """`mock`: the port of the mock model."""
    here = in_process(max(100, int(CALLS_IN_PROCESS * scale)))
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(len(ROWS) + 2)]
        port = opened.enter_context(redis_server(folders[-1]))
        configured = dict(ROWS)
        if port is not None:
            configured[REDIS] = RECORDS + LIMITS + SHARED.format(port=port)
        pairs = zip(configured.values(), folders, strict=False)
        stacks = [opened.enter_context(gateway(folder, mock, more=more)) for more, folder in pairs]
        rounds = [[through_envoy(stack, max(80, int(CALLS * scale))) for stack in stacks] for _ in range(ROUNDS)]
        print(f"Medians of {ROUNDS} rounds in turn, {CONCURRENCY} clients; p50 of one client. More: than {RECORDED}.\n")
        print("| translated call, 1 KB, CPU us | in one process | worker | more | supervisor | p50 ms |")
        print("|---|---|---|---|---|---|")
        recorded = list(configured).index(RECORDED)
        for number, name in enumerate(configured):
            figures = zip(*(one[number] for one in rounds), strict=True)
            worker, supervisor, waited = (median(values) for values in figures)
            more = median(one[number][0] - one[recorded][0] for one in rounds)
            # With Redis the budgets of a call wait, so that one process cannot show what they cost.
            alone = f"{here[name]:.0f}" if name in here else "-"
            print(f"| {name} | {alone} | {worker:.0f} | {more:+.0f} | {supervisor:.0f} | {waited:.2f} |", flush=True)
        if port is not None:
            print(f"\nscripts of Redis for each call: {scripts(port, stacks[-1], max(50, int(200 * scale))):.2f}")


def in_process(calls: int) -> Mapping[str, float]:
    """CPU of a whole call in this process, in us, by row: without Envoy, and without what is sent to the supervisor."""
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in ROWS]
        workers = [Worker(folder, more) for folder, more in zip(folders, ROWS.values(), strict=True)]
        return dict(zip(ROWS, asyncio.run(paired(workers, calls)), strict=True))


def main() -> None:
    with mock_model() as mock:
        report(mock, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)


if __name__ == "__main__":
    main()
