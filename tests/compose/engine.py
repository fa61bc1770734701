"""A Docker engine: the one that runs, or one that is started here and ended again."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.e2e.stack import SECONDS

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "engine"
# Neither the machine's firewall nor a bridge of its own: what is published is published by a process.
ALONE = ["--iptables=false", "--ip6tables=false", "--bridge=none"]


class NoEngine(Exception):
    """`str()` says why none can run here."""


class Failed(AssertionError):
    """A command's status and what it said."""


@dataclass(frozen=True)
class Engine:
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, argv: Sequence[str], environ: Mapping[str, str] | None = None, data: bytes | None = None) -> str:
        done = subprocess.run(
            argv, env={**self.environ, **(environ or {})}, cwd=ROOT, input=data, capture_output=True, check=False
        )
        if done.returncode:
            raise Failed(f"{argv[:4]} ended with {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}")
        return done.stdout.decode()

    def docker(self, *arguments: str) -> str:
        return self.run(["docker", *arguments])

    def has_image(self, name: str) -> bool:
        return bool(self.docker("images", "--quiet", name))

    def build(self, *arguments: str) -> None:
        """With BuildKit: as a plugin in new clients, a part of old ones, absent where the plugin is not installed."""
        self.run([self._builder, "build", *arguments], {"DOCKER_BUILDKIT": "1"})

    @cached_property
    def _builder(self) -> str:
        for folder in os.get_exec_path():
            client = Path(folder) / "docker"
            if client.exists() and _succeeds([str(client), "build", "--help"], {"DOCKER_BUILDKIT": "1"}, "--secret"):
                return str(client)
        raise NoEngine("no docker client here can build with BuildKit")

    @cached_property
    def compose(self) -> list[str]:
        for argv in (["docker", "compose"], ["docker-compose"]):
            if shutil.which(argv[0]) and _succeeds([*argv, "version"]):
                return argv
        raise NoEngine("neither `docker compose` nor docker-compose is installed")


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Raises NoEngine."""
    if shutil.which("docker") is None:
        raise NoEngine("there is no docker client (Debian: apt-get install docker.io docker-compose debootstrap)")
    if _succeeds(["docker", "version"]):
        yield Engine()
        return
    if os.geteuid() or shutil.which("dockerd") is None:
        raise NoEngine("no Docker engine runs, and only root can start one (Debian: apt-get install docker.io)")
    with _started() as running:
        yield running


@contextlib.contextmanager
def _started() -> Iterator[Engine]:
    # Sockets live here; their paths must stay under the kernel's 108 bytes. Images stay in the tree for the next time.
    with tempfile.TemporaryDirectory(prefix="extproc-engine-") as name:
        folder = Path(name)
        host = f"unix://{folder}/docker.sock"
        argv = ["dockerd", "--host", host, "--data-root", str(KEPT), "--exec-root", str(folder / "exec")]
        argv += ["--pidfile", str(folder / "pid"), *ALONE]
        KEPT.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait_for(process, host, folder / "log")
            yield Engine({**os.environ, "DOCKER_HOST": host})
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)


def _wait_for(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not _succeeds(["docker", "version"], {"DOCKER_HOST": host}):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoEngine("dockerd does not start here:\n" + "\n".join(log.read_text().splitlines()[-5:]))


def _succeeds(argv: Sequence[str], environ: Mapping[str, str] | None = None, says: str = "") -> bool:
    done = subprocess.run(argv, env={**os.environ, **(environ or {})}, capture_output=True, text=True, check=False)
    return done.returncode == 0 and says in done.stdout
