"""`make bench`: a table of CPU per call, start time and memory, measured on this machine now."""

import asyncio
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import bodies, load
from bench.mock import CHUNKS
from extproc import config, envoy, up
from extproc.demo import idp
from extproc.providers import cluster

CONFIG = """
listen: {{address: 127.0.0.1, port: {port}}}
authentication:
  jwt: [{{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}]
authorization: {{allow: ['jwt.org == "acme" && jwt.team == "data-platform"']}}
providers: {{mock: {{dialects: [chat], base_url: "http://127.0.0.1:{mock}/v1", api_key: {{env: HOME}}}}}}
models: [{{name: "claude-*", provider: mock, model: gpt-4o-mini}}, {{name: "gpt-*", provider: mock}}]
routes: [{{path: "/files/*", serve: passthrough, provider: mock}}]
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
    path = folder / "gateway.yaml"
    path.write_text(CONFIG.format(port=port, mock=mock))
    command = [sys.executable, "-m", "extproc", "up", "--config", str(path), "--workers", "1"]
    began = time.perf_counter()
    with (folder / "errors").open("w") as errors, (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=errors, env={"HOME": str(folder)})
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


@contextmanager
def bare_gateway(folder: Path, mock: int) -> Iterator[Stack]:
    """The same Envoy with a processor that only speaks the protocol."""
    port = free_port()
    (folder / "gateway.yaml").write_text(CONFIG.format(port=port, mock=mock))
    address = f"unix:{folder}/bare.sock"
    to = cluster("mock", f"http://127.0.0.1:{mock}/v1")
    envoy.write(config.load(folder / "gateway.yaml"), [address], folder)
    processor = subprocess.Popen([sys.executable, "-m", "bench.bare", address, to])
    front = subprocess.Popen(
        [up.binary_path(), *ENVOY], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        while not _answers(port):
            time.sleep(0.05)
        yield Stack(port, "none", psutil.Process(processor.pid), psutil.Process(front.pid), 0)
    finally:
        for process in (front, processor):
            process.terminate()
            process.wait()


ENVOY = ("-c", "bootstrap.json", "--disable-hot-restart", "--log-level", "error", "--concurrency", "1")


def _answers(port: int) -> bool:
    try:
        asyncio.run(load.run(port, load.post("/v1/messages", "none", bodies.small()), 1, 1))
    except (OSError, AssertionError):
        return False
    return True


def _kind(process: psutil.Process) -> str:
    return "processor" if "extproc.server.worker" in process.cmdline() else "envoy"


def free_port() -> int:
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
    compared: bool = True
    """The bare processor can carry it, too."""


def measure(stack: Stack, bare: Stack, row: Row) -> str:
    """A line of the table. The bare processor carries the same load in turn, so that noise meets both."""
    cost, front, result = _cost(stack, row)
    alone = asyncio.run(load.run(stack.port, row.request, min(200, row.calls), 1))
    floor = f"{_cost(bare, row)[0]:.3f}" if row.compared else "-"
    rate = result.calls / result.seconds
    latency = f"{alone.quantile(0.5):.1f} | {alone.quantile(0.99):.1f}"
    return f"| {row.name} | {cost:.3f} | {floor} | {front:.3f} | {rate:.0f} | {latency} |"


def _cost(stack: Stack, row: Row) -> tuple[float, float, load.Result]:
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
        Row("same dialect, 61 KB", load.post("/v1/chat/completions", token, bodies.chat()), calls(2000)),
        Row("passthrough, 1 KB", load.post("/files/x", token, bodies.small()), calls(3000), compared=False),
        Row("passthrough, 61 KB", load.post("/files/x", token, bodies.large()), calls(3000), compared=False),
    ]


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with ExitStack() as open_ones:
        folders = [Path(open_ones.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        mock = open_ones.enter_context(mock_model())
        stack = open_ones.enter_context(gateway(folders[0], mock))
        bare = open_ones.enter_context(bare_gateway(folders[1], mock))
        report(stack, bare, scale)


def report(stack: Stack, bare: Stack, scale: float) -> None:
    fresh = stack.processor.memory_info().rss
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, CPython {platform.python_version()}"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}; {CONCURRENCY} clients; p50 and p99 with one client\n")
    print("| | processor, CPU ms | of that grpcio alone | Envoy, CPU ms | per second | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for row in rows(stack.token, scale):
        print(measure(stack, bare, row), flush=True)
    used = stack.processor.memory_info().rss
    memory = f"{fresh / 1e6:.0f} MB fresh, {used / 1e6:.0f} MB after this run"
    print(f"\nstart to serving {stack.start_seconds:.2f} s; resident memory of a worker {memory}")


if __name__ == "__main__":
    main()
