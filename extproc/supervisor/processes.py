"""Child processes that stay up: started, watched, started again with a growing pause, stopped in order."""

import asyncio
import contextlib
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
# A child that has run this long has recovered; its next crash starts with the short pause again.
RECOVERED_SECONDS = 30.0
LINE_LIMIT = 1024 * 1024


class NotStarted(Exception):
    """A child ended or hung before it was ready; `str()` is what it said."""

    def __init__(self, name: str, said: str, code: int) -> None:
        super().__init__(said or f"{name} did not start")
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
        self._said: list[str] = []
        self._readers: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Returns when the child is ready. Raises NotStarted."""
        self._said.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.DEVNULL if self._greeting is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
            cwd=self._folder,
            limit=LINE_LIMIT,
            # Who can open a worker's socket is handed providers' keys; nobody else reads what children write.
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
            raise NotStarted(self.name, "\n".join(self._said), code)
        self.first_line = line.decode().rstrip()

    def send(self, message: bytes) -> None:
        """To its standard input, in the background. One that has ended gets nothing."""
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
        """SIGTERM, and SIGKILL after `grace` seconds."""
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
                # Nobody may be reading any more, but a full pipe would stop the child.
                with contextlib.suppress(OSError):
                    self._on_line(line)

    async def _relay_errors(self, errors: asyncio.StreamReader, ready: asyncio.Event) -> None:
        """Until the child is ready its words are kept for NotStarted, afterwards they are ours."""
        async for text in _lines(errors):
            if ready.is_set():
                with contextlib.suppress(OSError):
                    sys.stderr.write(text + "\n")
            else:
                self._said.append(text)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """What does not fit into LINE_LIMIT is left out, and reading goes on: a full pipe would stop the child."""
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
    """One processor on `unix:PATH` or `HOST:PORT`. `leave`: seconds between saying that it leaves and leaving.
    `probe`: a Unix socket on which it answers for its health, too."""
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


Group = Sequence[Child]


async def start(groups: Sequence[Group]) -> None:
    """All at once. Raises the first NotStarted when all have come to an end of starting."""
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
    """Runs `begin`, which starts groups of children, names them in its argument, and may give what else is to run
    beside them; keeps them up until SIGTERM or SIGINT, and while `leave` runs; then stops them in their order, `grace`
    seconds for each. Another signal cuts short whichever of the two is waited for. SIGHUP calls `hung_up`; it ends
    everything where there is none, or where it is a closed terminal's, which reaches no child. Nothing stays behind,
    however it ends."""
    groups: list[Group] = []
    told, hurried = asyncio.Event(), asyncio.Event()
    at_terminal = _has_terminal()

    def end() -> None:
        (hurried if told.is_set() else told).set()

    def hangup() -> None:
        if hung_up is None or (at_terminal and not _has_terminal()):
            end()
        else:
            hung_up()

    loop = asyncio.get_running_loop()
    for number, obey in ((signal.SIGTERM, end), (signal.SIGINT, end), (signal.SIGHUP, hangup)):
        loop.add_signal_handler(number, obey)
    running = asyncio.create_task(_begin_and_watch(begin, groups))
    waiting = asyncio.create_task(told.wait())
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


async def _ended(way: Coroutine[Any, Any, None], hurried: asyncio.Event) -> bool:
    """Whether it came to its end before somebody hurried."""
    tasks = asyncio.create_task(way), asyncio.create_task(hurried.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _has_terminal() -> bool:
    """A closed terminal is nobody's any more; a daemon never had one."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


async def _begin_and_watch(begin: Begin, groups: list[Group]) -> None:
    also = await begin(groups)
    watched = [child.watch() for group in groups for child in group]
    await asyncio.gather(*watched, *([also()] if also else []))


async def stop(groups: Sequence[Group], grace: float) -> None:
    """Group after group."""
    for group in groups:
        await asyncio.gather(*(child.stop(grace) for child in group))
