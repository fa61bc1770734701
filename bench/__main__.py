"""`make bench`: a table of CPU per call, start time and memory, measured on this machine now."""

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import budgets, delays, load, policy, servers
from bench.alone import envoy_alone
from bench.rows import CONCURRENCY, Row, cost, rows
from bench.stack import Stack, bare_gateway, gateway, machine, mock_model

ALONE_CALLS = 500


def measure(stack: Stack, bare: Stack, alone: int, row: Row) -> str:
    """A line of the table. The bare processor carries the same load in turn, so that noise meets both."""
    processor, front, result = cost(stack, row)
    floor = f"{cost(bare, row)[0]:.3f}" if row.compared else "-"
    rate = result.calls / result.seconds
    added = " | ".join(f"{value:.2f}" for value in _added(stack.port, alone, row))
    return f"| {row.name} | {processor:.3f} | {floor} | {front:.3f} | {rate:.0f} | {added} |"


def _added(port: int, alone: int, row: Row) -> list[float]:
    """p50 and p99 of one client, milliseconds above what it waits for an Envoy alone."""
    calls = min(ALONE_CALLS, row.calls)
    ours, bare = (asyncio.run(load.run(one, row.request, calls, 1)) for one in (port, alone))
    return [ours.quantile(q) - bare.quantile(q) for q in (0.5, 0.99)]


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with ExitStack() as open_ones:
        folders = [Path(open_ones.enter_context(tempfile.TemporaryDirectory())) for _ in range(4)]
        mock = open_ones.enter_context(mock_model())
        stack = open_ones.enter_context(gateway(folders[0], mock))
        bare = open_ones.enter_context(bare_gateway(folders[1], mock))
        alone = open_ones.enter_context(envoy_alone(folders[2], mock))
        report(stack, bare, alone, scale)
        print()
        servers.report(stack, open_ones.enter_context(servers.network_gateway(folders[3], mock)), scale)
        print()
        budgets.report(mock, scale)
    print()
    policy.main(int(policy.CALLS * scale))
    delays.main()


def report(stack: Stack, bare: Stack, alone: int, scale: float) -> None:
    fresh = stack.processor.memory_info().rss
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {CONCURRENCY} clients. Added: by one client, to an Envoy alone\n")
    print("| | processor, CPU ms | grpcio alone | Envoy, CPU ms | per second | added p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for row in rows(stack.token, scale):
        print(measure(stack, bare, alone, row), flush=True)
    used = stack.processor.memory_info().rss
    memory = f"{fresh / 1e6:.0f} MB fresh, {used / 1e6:.0f} MB after this run"
    print(f"\nstart to serving {stack.start_seconds:.2f} s; resident memory of a worker {memory}")


if __name__ == "__main__":
    main()
