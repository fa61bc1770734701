"""What is measured: a mock model, the product before it, and the same Envoy with a processor that does nothing."""

import asyncio
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import bodies, load
from extproc.config import loading
from extproc.demo import idp
from extproc.envoy import configuration
from extproc.providers.providers import cluster
from extproc.supervisor import up

CONFIG = """
listen: {{address: 127.0.0.1, port: {port}}}
authentication:
  jwt: [{{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}]
authorization: {{allow: ['jwt.org == "acme" && jwt.team == "data-platform"']}}
providers:
  mock: {{dialects: [chat], base_url: "http://127.0.0.1:{mock}/v1", api_key: {{env: HOME}}}}
  failing: {{dialects: [chat], base_url: "http://127.0.0.1:{mock}/failing/v1", api_key: {{env: HOME}}}}
models:
  - {{name: "claude-*", provider: mock, model: gpt-4o-mini}}
  - {{name: "gpt-*", provider: mock}}
  - {{name: two-stages, providers: [{{provider: mock, model: gpt-4o-mini}}]}}
  - {{name: failing, providers: [{{provider: failing, model: gpt-4o-mini}}, {{provider: mock, model: gpt-4o-mini}}]}}
routes: [{{path: "/files/*", serve: passthrough, provider: mock}}]
"""


@dataclass(frozen=True)
class Stack:
    port: int
    token: str
    processors: list[psutil.Process]
    envoy: psutil.Process
    start_seconds: float
    supervisor: int = 0

    @property
    def processor(self) -> psutil.Process:
        return self.processors[0]

    def cpu(self) -> float:
        """Seconds so far, of all together."""
        return sum(cpu(process) for process in (*self.processors, self.envoy))


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
def gateway(folder: Path, mock: int, workers: int = 1, more: str = "") -> Iterator[Stack]:
    """`more`: what the configuration has besides."""
    port = free_port()
    path = folder / "gateway.yaml"
    path.write_text(CONFIG.format(port=port, mock=mock) + more)
    command = [sys.executable, "-m", "extproc", "up", "--config", str(path), "--workers", str(workers)]
    began = time.perf_counter()
    with (folder / "errors").open("w") as errors, (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=errors, env={"HOME": str(folder)})
        try:
            while "is serving on" not in (folder / "log").read_text():
                assert process.poll() is None, (folder / "errors").read_text()
                time.sleep(0.005)
            seconds = time.perf_counter() - began
            children = psutil.Process(process.pid).children()
            processors = [child for child in children if "extproc.transport.worker" in child.cmdline()]
            [front] = [child for child in children if child not in processors]
            yield Stack(port, idp.mint(folder / "keys"), processors, front, seconds, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def bare_gateway(folder: Path, mock: int) -> Iterator[Stack]:
    """The same Envoy with a processor that only speaks the protocol."""
    port = free_port()
    (folder / "gateway.yaml").write_text(CONFIG.format(port=port, mock=mock))
    address = f"unix:{folder}/bare.sock"
    configuration.write(loading.load(folder / "gateway.yaml"), [address], folder)
    processor = subprocess.Popen(
        [sys.executable, "-m", "bench.bare", address, cluster("mock", f"http://127.0.0.1:{mock}/v1")]
    )
    front = subprocess.Popen(
        [up.binary_path(), "-c", "bootstrap.json", *ENVOY],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        while not answers(port):
            time.sleep(0.05)
        yield Stack(port, "none", [psutil.Process(processor.pid)], psutil.Process(front.pid), 0)
    finally:
        for process in (front, processor):
            process.terminate()
            process.wait()


ENVOY = ("--disable-hot-restart", "--log-level", "error", "--concurrency", "1")


def answers(port: int, token: str = "none") -> bool:
    try:
        asyncio.run(load.run(port, load.post("/v1/messages", token, bodies.small()), 1, 1))
    except (OSError, AssertionError):
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu(process: psutil.Process) -> float:
    """Seconds so far, by the clock of clock_getcpuclockid(3), for psutil's are whole hundredths."""
    return time.clock_gettime(~process.pid << 3 | 2)


def machine() -> str:
    return f"{platform.machine()}, {psutil.cpu_count()} cores, CPython {platform.python_version()}"
