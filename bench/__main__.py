"""`make bench`: a table of CPU per call, start time and memory, measured on this machine now."""

import asyncio
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import bodies, load
from bench.mock import CHUNKS
from extproc.demo import idp

CONFIG = """
listen: {{address: 127.0.0.1, port: {port}}}
authentication:
  jwt: [{{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}]
authorization: {{allow: ['jwt.org == "acme" && jwt.team == "data-platform"']}}
providers: {{mock: {{dialects: [chat], base_url: "http://127.0.0.1:{mock}/v1", api_key: {{env: KEY}}}}}}
models: [{{name: "claude-*", provider: mock, model: gpt-4o-mini}}]
"""
CONCURRENCY = 8


@dataclass(frozen=True)
class Stack:
    port: int
    token: str
    processor: psutil.Process
    envoy: psutil.Process
    start_seconds: float


@contextmanager
def mock_model() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "bench.mock"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextmanager
def gateway(folder: Path, mock: int) -> Iterator[Stack]:
    port = free_port()
    config = folder / "gateway.yaml"
    config.write_text(CONFIG.format(port=port, mock=mock))
    command = [sys.executable, "-m", "extproc", "up", "--config", str(config), "--workers", "1"]
    began = time.perf_counter()
    with (folder / "errors").open("w") as errors, (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=errors, env={"KEY": "sk-mock", "HOME": str(folder)})
        try:
            while "is serving on" not in (folder / "log").read_text():
                assert process.poll() is None, (folder / "errors").read_text()
                time.sleep(0.005)
            seconds = time.perf_counter() - began
            children = {_kind(child): child for child in psutil.Process(process.pid).children()}
            yield Stack(port, idp.mint(folder / "keys"), children["processor"], children["envoy"], seconds)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _kind(process: psutil.Process) -> str:
    return "processor" if "extproc.server.worker" in process.cmdline() else "envoy"


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu(process: psutil.Process) -> float:
    """Seconds so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Row:
    name: str
    request: bytes
    calls: int
    parts: int = 1
    """What the cost of a call is divided by."""


def measure(stack: Stack, row: Row) -> str:
    asyncio.run(load.run(stack.port, row.request, max(CONCURRENCY, row.calls // 10), CONCURRENCY))
    before = cpu(stack.processor), cpu(stack.envoy)
    result = asyncio.run(load.run(stack.port, row.request, row.calls, CONCURRENCY))
    after = cpu(stack.processor), cpu(stack.envoy)
    of_processor, of_envoy = ((b - a) * 1000 / row.calls / row.parts for a, b in zip(before, after, strict=True))
    alone = asyncio.run(load.run(stack.port, row.request, min(200, row.calls), 1))
    rate = result.calls / result.seconds
    return (
        f"| {row.name} | {of_processor:.3f} | {of_envoy:.3f} | {rate:.0f} | "
        f"{alone.quantile(0.5):.1f} | {alone.quantile(0.99):.1f} |"
    )


def rows(token: str, scale: float) -> list[Row]:
    def calls(n: int) -> int:
        return max(CONCURRENCY, int(n * scale))

    messages = "/v1/messages"
    return [
        Row("translated call, 1 KB", load.post(messages, token, bodies.small()), calls(3000)),
        Row("translated call, 61 KB", load.post(messages, token, bodies.large()), calls(2000)),
        Row("streamed chunk", load.post(messages, token, bodies.small(stream=True)), calls(160), CHUNKS),
        Row("headers only (`GET /v1/models`)", load.get("/v1/models", token), calls(3000)),
    ]


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as name, mock_model() as mock, gateway(Path(name), mock) as stack:
        fresh = stack.processor.memory_info().rss
        print(
            f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {psutil.cpu_count()} cores, CPython "
            f"{platform.python_version()}; {CONCURRENCY} clients; p50 and p99 with one client\n"
        )
        print("| | processor, CPU ms | Envoy, CPU ms | per second | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
        for row in rows(stack.token, scale):
            print(measure(stack, row), flush=True)
        used = stack.processor.memory_info().rss
        print(
            f"\nstart to serving {stack.start_seconds:.2f} s; resident memory of a worker "
            f"{fresh / 1e6:.0f} MB fresh, {used / 1e6:.0f} MB after this run"
        )


if __name__ == "__main__":
    main()
