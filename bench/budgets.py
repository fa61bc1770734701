"""What budgets cost a call: off, with counters on this machine, and with Redis. Part of `make bench`; alone:
`python -m bench.budgets 0.4`. Rows with Redis need a redis-server or valkey-server on the PATH.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import redis

from bench import bodies, load
from bench.policy import cpu_us, done
from bench.stack import CONFIG, Stack, cpu, free_port, gateway, mock_model
from extproc.config import loading
from extproc.demo import idp
from extproc.events import BeginAnswer, Headers, Record, RequestBody, RequestHeaders
from extproc.gateway.gateway import Gateway
from extproc.policy.budgets.budgets import Budgets, Reservation
from extproc.policy.budgets.wallet import Wallet
from extproc.policy.facts import Examined

LIMITS = """
prices: {overrides: [{model: "*", input: 1, output: 1}]}
budgets:
  - {name: team, key: jwt.team, limit: {usd: 500000, tokens: 1000000000000}, per: month}
  - {name: person, key: jwt.sub, limit: {requests: 1000000000}, per: day}
"""
"""Three limits in two budgets, of which slices last."""
SHARED = 'store: {{redis: {{url: "redis://localhost:{port}/0"}}}}\n'
SENT: Record = {"verdict": "allow", "gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 50}
ROUNDS = 5
CALLS = 2000
ALONE_CALLS = 20_000
CONCURRENCY = 8


def alone(more: str, calls: int) -> float:
    """CPU, in us, of all that budgets do for one call, in this process: reserve, write headers, settle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idp.ensure_keys(folder / "keys")
        (folder / "gateway.yaml").write_text(CONFIG.format(port=1, mock=1) + more)
        source = loading.load(folder / "gateway.yaml")
        made = Gateway(source)
        asked, now = _examined(made, idp.mint(folder / "keys")), time.time()
    budgets = Budgets(source, made.catalogue, made.rules, made.prices, wallet=Wallet(), faults=[])

    def call() -> None:
        reserved = done(budgets.reserve(asked, now))
        if isinstance(reserved, Reservation):
            reserved.add_headers([BeginAnswer(200, {}, (), {})], now)
            reserved.settle(SENT)

    return cpu_us(call, calls)


def _examined(made: Gateway, token: str) -> Examined:
    fields = {":method": "POST", ":path": "/v1/messages", "authorization": f"Bearer {token}"}
    exchange = made.exchange(0)
    done(made.at_headers(exchange, RequestHeaders(Headers(fields.items()), end=False, source=""), time.time()))
    found = done(made.at_body(exchange, RequestBody(bodies.small()), time.time()))
    assert isinstance(found, Examined)
    return found


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
    """CPU of the worker and of the supervisor, in ms for each call, and the median of one client's waiting, in ms."""
    request = load.post("/v1/messages", stack.token, bodies.small())
    processes = stack.processor, psutil.Process(stack.supervisor)
    before = [cpu(process) for process in processes]
    asyncio.run(load.run(stack.port, request, calls, CONCURRENCY))
    after = [cpu(process) for process in processes]
    waited = asyncio.run(load.run(stack.port, request, max(1, calls // 10), 1)).quantile(0.5)
    worker, supervisor = ((b - a) * 1000 / calls for a, b in zip(before, after, strict=True))
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
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(4)]
        port = opened.enter_context(redis_server(folders[3]))
        configured = {"budgets off": "", "embedded": LIMITS}
        if port is not None:
            configured["Redis"] = LIMITS + SHARED.format(port=port)
        pairs = zip(configured.values(), folders, strict=False)
        stacks = [opened.enter_context(gateway(folder, mock, more=more)) for more, folder in pairs]
        # With Redis the budgets of a call wait, so that they cannot be measured alone.
        here = [f"{alone(more, max(100, int(ALONE_CALLS * scale))):.1f}" for more in ("", LIMITS)] + ["-"]
        rounds = [[through_envoy(stack, max(80, int(CALLS * scale))) for stack in stacks] for _ in range(ROUNDS)]
        print(f"Least of {ROUNDS} rounds in turn, {CONCURRENCY} clients; p50 of one client.\n")
        print("| translated call, 1 KB | budgets alone, CPU us | worker, CPU ms | supervisor, CPU ms | p50 ms |")
        print("|---|---|---|---|---|")
        for number, name in enumerate(configured):
            figures = [min(values) for values in zip(*(one[number] for one in rounds), strict=True)]
            print(f"| {name} | {here[number]} | {' | '.join(f'{value:.3f}' for value in figures)} |", flush=True)
        if port is not None:
            print(f"\nscripts of Redis for each call: {scripts(port, stacks[-1], max(50, int(200 * scale))):.2f}")


def main() -> None:
    with mock_model() as mock:
        report(mock, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)


if __name__ == "__main__":
    main()
