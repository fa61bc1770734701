"""Child processes that stay up: started, watched, started again with a growing pause, stopped in order."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger("extproc")

START_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
# After a child has run this long, its next crash is followed by the short pause again.
RECOVERED_SECONDS = 30.0
LINE_LIMIT = 1024 * 1024


DRAIN_SECONDS = 3600
"""A listener is replaced only where it must be (TLS on or off, fields of the log). Then kept connections are told to
close with their next answer, and what runs on them has this long."""


class NotStarted(Exception):
    """A child ended or hung before it was ready; `str()` is what it wrote to standard error."""

    def __init__(self, name: str, output: str, code: int) -> None:
        super().__init__(output or f"{name} did not start")
        self.code = code


class Child:
    """One process. Its first line of output says that it is ready, if `announces`."""

    def __init__(  # noqa: PLR0913 - named, and all but two have a default
        self,
        name: str,
        argv: Sequence[str],
        *,
        announces: bool = True,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        greeting: Callable[[], bytes] | None = None,
    ) -> None:
        """`greeting`: what it is sent first, each time it starts."""
        self.name = name
        self.first_line = ""
        self._argv = argv
        self._announces = announces
        self._environ = environ
        self._folder = folder
        self._on_line = on_line
        self._greeting = greeting
        self._process: asyncio.subprocess.Process | None = None
        self._output: list[str] = []
        self._readers: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Returns when the child is ready. Raises NotStarted."""
        self._output.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.DEVNULL if self._greeting is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
            cwd=self._folder,
            # A line may be longer than the 64 KiB that asyncio reads by default.
            limit=LINE_LIMIT,
            # A worker's socket gives access to providers' keys, so files of children are closed to other users.
            umask=0o077,
            # Ctrl-C goes to the supervisor alone, which stops its children in their order.
            start_new_session=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        if self._greeting is not None:
            self.send(self._greeting())
        ready = asyncio.Event()
        errors = asyncio.create_task(self._relay_errors(self._process.stderr, ready))
        self._readers = [errors]
        if self._announces:
            await self._wait_until_ready(self._process.stdout, errors)
        ready.set()
        self._readers.append(asyncio.create_task(self._relay(self._process.stdout)))

    async def _wait_until_ready(self, output: asyncio.StreamReader, errors: asyncio.Task[None]) -> None:
        assert self._process is not None
        try:
            line = await asyncio.wait_for(output.readline(), START_SECONDS)
        except TimeoutError:
            await self.stop(0)
            raise NotStarted(self.name, f"{self.name} was not ready after {START_SECONDS:g} s", 1) from None
        if not line:
            code = await self._process.wait()
            await errors
            raise NotStarted(self.name, "\n".join(self._output), code)
        self.first_line = line.decode().rstrip()

    def send(self, message: bytes) -> None:
        """Writes to its standard input in the background; does nothing after it has ended."""
        if self._process is not None and self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.write(message)

    async def watch(self) -> None:
        """Keeps the child up until cancelled."""
        pause = FIRST_PAUSE
        while True:
            assert self._process is not None
            since = time.monotonic()
            code = await self._process.wait()
            pause = FIRST_PAUSE if time.monotonic() - since > RECOVERED_SECONDS else pause
            log.error("%s ended with status %s, starting it again in %.1f s", self.name, code, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            with contextlib.suppress(NotStarted):
                await self.start()

    async def stop(self, grace: float) -> None:
        """Sends SIGTERM, and SIGKILL after `grace` seconds. Returns when the process has ended."""
        if self._process is not None and self._process.returncode is None:
            self._signal(signal.SIGTERM if grace else signal.SIGKILL)
            try:
                await asyncio.wait_for(self._process.wait(), grace or START_SECONDS)
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._process.wait()
        await asyncio.gather(*map(asyncio.shield, self._readers))

    def _signal(self, number: int) -> None:
        # Each child leads a session of its own; at the last its own children go with it.
        send = os.killpg if number == signal.SIGKILL else os.kill
        with contextlib.suppress(ProcessLookupError):
            send(self.pid, number)

    async def _relay(self, output: asyncio.StreamReader) -> None:
        async for line in _lines(output):
            if self._on_line is not None:
                # The reader of our output may have gone, and a line may be no line of ours; but a full pipe would stop
                # the child.
                try:
                    self._on_line(line)
                except OSError:
                    pass
                except Exception as error:  # noqa: BLE001 - whatever it is, the next line is read
                    log.error("a line of %s could not be read: %s", self.name, type(error).__name__)

    async def _relay_errors(self, errors: asyncio.StreamReader, ready: asyncio.Event) -> None:
        """Keeps lines for NotStarted until the child is ready, and writes later ones to our own standard error."""
        async for text in _lines(errors):
            if ready.is_set():
                with contextlib.suppress(OSError):
                    sys.stderr.write(text + "\n")
            else:
                self._output.append(text)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yields lines. Longer ones than LINE_LIMIT are skipped, since a pipe that is not read would stop the child."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line.decode(errors="replace").rstrip()


def worker(  # noqa: PLR0913 - named
    config: Path,
    address: str,
    *,
    leave: float,
    probe: str = "",
    environ: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    greeting: Callable[[], bytes] | None = None,
) -> Child:
    """Returns a processor on `unix:PATH` or `HOST:PORT`. `leave`: seconds between its notice that it is shutting down
    and the end. `probe`: a further Unix socket for health checks."""
    argv = [
        sys.executable,
        "-m",
        "extproc.transport.worker",
        str(config),
        address,
        str(leave),
        *([probe] if probe else []),
    ]
    return Child(f"worker {address}", argv, environ=environ, on_line=on_line, greeting=greeting)


def envoy(binary: str, folder: Path, environ: Mapping[str, str], on_line: Callable[[str], None]) -> Child:
    """Returns an Envoy that is started in `folder` and reads its files there."""
    # Hot restart shares memory by a number (`--base-id`), and a second Envoy of the same number does not start:
    # https://www.envoyproxy.io/docs/envoy/latest/operations/cli
    argv = [binary, "-c", "bootstrap.json", "--disable-hot-restart", "--log-level", "warn"]
    # By default Envoy keeps lines of the log for ten seconds. It gets half of the cores; the workers need the others.
    argv += ["--file-flush-interval-msec", "100", "--concurrency", str(max(1, (os.cpu_count() or 1) // 2))]
    # By default Envoy closes kept connections little by little over the whole time:
    # https://www.envoyproxy.io/docs/envoy/latest/operations/cli.
    argv += ["--drain-strategy", "immediate", "--drain-time-s", str(DRAIN_SECONDS)]
    # It gets no more of the environment than it needs: no provider's key above all.
    bare = {name: environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in environ}
    return Child("Envoy", argv, announces=False, environ=bare, folder=folder, on_line=on_line)


Group = Sequence[Child]


async def start(groups: Sequence[Group]) -> None:
    """Starts all at once. Raises the first NotStarted when each has started or failed."""
    starts = (child.start() for group in groups for child in group)
    for result in await asyncio.gather(*starts, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


Begin = Callable[[list[Group]], Awaitable[Callable[[], Awaitable[None]] | None]]
Leave = Callable[[], Coroutine[Any, Any, None]]


async def _at_once() -> None:
    pass


async def supervise(
    begin: Begin, grace: float, *, hung_up: Callable[[], None] | None = None, leave: Leave = _at_once
) -> None:
    """Keeps groups of children running until SIGTERM or SIGINT.

    `begin` starts the groups, adds them to its argument, and may return a further coroutine to run beside them. After
    the signal the children stay up while `leave` runs; then the groups are stopped in order, `grace` seconds for each.
    A second signal ends whichever of the two is waited for. SIGHUP calls `hung_up`. Without `hung_up`, or when the
    terminal was closed, SIGHUP ends everything, because it reaches no child. No process is left behind."""
    groups: list[Group] = []
    stopping, hurried = asyncio.Event(), asyncio.Event()
    at_terminal = _has_terminal()

    def end() -> None:
        (hurried if stopping.is_set() else stopping).set()

    def hangup() -> None:
        if hung_up is None or (at_terminal and not _has_terminal()):
            end()
        else:
            hung_up()

    loop = asyncio.get_running_loop()
    for number, handler in ((signal.SIGTERM, end), (signal.SIGINT, end), (signal.SIGHUP, hangup)):
        loop.add_signal_handler(number, handler)
    running = asyncio.create_task(_begin_and_watch(begin, groups))
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        if not await _ended(leave(), hurried):
            hurried.clear()
    finally:
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        await _ended(stop(groups, grace), hurried)
        await stop(groups, 0)


async def _ended(work: Coroutine[Any, Any, None], hurried: asyncio.Event) -> bool:
    """Returns whether the work was finished before `hurried` was set; cancels it otherwise."""
    tasks = asyncio.create_task(work), asyncio.create_task(hurried.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _has_terminal() -> bool:
    """Returns whether the process has a terminal; a daemon has none, nor has one whose terminal was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


async def _begin_and_watch(begin: Begin, groups: list[Group]) -> None:
    also = await begin(groups)
    # What is here stays: the collector need not look at it again, least of all at the end.
    gc.freeze()
    gc.enable()
    watched = [child.watch() for group in groups for child in group]
    await asyncio.gather(*watched, *([also()] if also else []))


async def stop(groups: Sequence[Group], grace: float) -> None:
    """Stops one group after the other."""
    for group in groups:
        await asyncio.gather(*(child.stop(grace) for child in group))
