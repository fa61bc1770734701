"""Envoy as rendered from a configuration, without the supervisor: the test says who its processors are."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extproc.config import loading
from extproc.demo import idp
from extproc.envoy import configuration
from extproc.supervisor import up
from extproc.supervisor.front import EnvoyControl
from tests.e2e.stack import GATEWAY, PROVIDER_KEY, SECONDS, Lines, Stack, free_port


@dataclass
class Setup:
    """A folder with a configuration in it, and what that needs of the environment."""

    folder: Path
    environ: dict[str, str]
    port: int

    @property
    def path(self) -> Path:
        return self.folder / "gateway.yaml"


@contextlib.contextmanager
def configured(model_url: str, config: str = GATEWAY) -> Iterator[Setup]:
    # Sockets need a path that is shorter than those pytest makes.
    with tempfile.TemporaryDirectory(prefix="extproc-") as name:
        environ = {"PATH": os.environ["PATH"], "HOME": name, "TMPDIR": name, "MODEL_URL": model_url}
        environ["MODEL_KEY"] = PROVIDER_KEY
        setup = Setup(Path(name), environ, free_port())
        setup.path.write_text(config + f"listen: {{port: {setup.port}}}\n")
        idp.ensure_keys(setup.folder / "keys")
        yield setup


@contextlib.contextmanager
def bare_envoy(setup: Setup, processors: Sequence[str], *, healthy: int, timeout: str = "5s") -> Iterator[Stack]:
    """`healthy`: so many processors must be found before it begins. `timeout`: for each of a processor's replies."""
    configuration.write(loading.load(setup.path, setup.environ), processors, setup.folder)
    _set_timeout(setup.folder / "listeners.json", timeout)
    _set_timeout(setup.folder / "clusters.json", timeout, several=True)
    with envoy_in(setup, healthy=healthy) as stack:
        yield stack


@contextlib.contextmanager
def envoy_in(setup: Setup, *, healthy: int) -> Iterator[Stack]:
    """As somebody else starts it, in a folder with its files."""
    argv = [up.binary_path(), "-c", "bootstrap.json", "--disable-hot-restart", "--log-level", "warn"]
    argv += ["--file-flush-interval-msec", "50", "--concurrency", "1"]
    with started(argv, setup.folder, {}) as (process, out, err):
        wait_for_processors(setup, healthy)
        yield Stack(f"http://127.0.0.1:{setup.port}", setup.folder, process, out, err)


def wait_for_processors(setup: Setup, count: int) -> None:
    async def found() -> None:
        front = EnvoyControl(setup.folder, [""] * count)
        await front.healthy()
        await front.listening()

    asyncio.run(found())


@contextlib.contextmanager
def started(
    argv: Sequence[str], folder: Path, environ: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[str], Lines, Lines]]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, cwd=folder, env=dict(environ), stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stderr is not None
    out, err = Lines(process.stdout), Lines(process.stderr)
    try:
        yield process, out, err
    finally:
        # First so that a supervisor can end its children; one that is killed leaves them behind.
        process.terminate()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()
        out.thread.join(SECONDS)
        err.thread.join(SECONDS)


@contextlib.contextmanager
def processor(setup: Setup, address: str, *more: str) -> Iterator[tuple[subprocess.Popen[str], Lines]]:
    """`extproc serve` with one worker, and what it says on standard error. It is told to leave at the end."""
    argv = [sys.executable, "-m", "extproc", "serve", "--config", str(setup.path), "--processor", address]
    with started([*argv, "--workers", "1", *more], setup.folder, setup.environ) as (process, out, err):
        out.first(lambda line: "is serving on" in line or None)
        try:
            yield process, err
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)


@contextlib.contextmanager
def worker(setup: Setup, address: str, program: Sequence[str] = ("-m", "extproc.transport.worker")) -> Iterator[Lines]:
    """One without a supervisor; what it says on standard error."""
    argv = [sys.executable, *program, str(setup.path), address, "0"]
    with started(argv, setup.folder, setup.environ) as (_, _, err):
        yield err


def _set_timeout(file: Path, timeout: str, *, several: bool = False) -> None:
    """`several`: it may occur any number of times, once for each provider of a model that has several."""
    rendered = file.read_text()
    changed = re.sub(r'"message_timeout": "[^"]*"', f'"message_timeout": "{timeout}"', rendered)
    assert several or rendered.count('"message_timeout"') == 1
    file.write_text(changed)
