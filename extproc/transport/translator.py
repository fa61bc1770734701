"""Reads and translates heavy bodies in a process of their own, so that they do not block a worker's event loop.

A thread would not help: a decoder written in C keeps the interpreter's lock until the whole body is read. One body is
translated at a time, and callers take turns, so that one with many waiting calls does not hold up the others.
"""

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict, deque

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.gateway.preparation import Prepared, Task
from extproc.transport.translator_process import LENGTH_BYTES, Result, frame

log = logging.getLogger("extproc")

# Envoy gives up after 5 s (`message_timeout`); before that the caller gets an answer in its own dialect.
PATIENCE_SECONDS = 4.0
HANGING_SECONDS = 15.0
WAITING_OF_CALLER, WAITING = 8, 64
_CHUNK = 1 << 20
# What Python needs to start. Other variables may hold secrets, so the process does not get them.
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT")
_MODULE = "extproc.transport.translator_process"


class Translator:
    """Implements `preparation.Prepare`. The process starts with the first heavy body, and again after it has ended."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._queue = FairQueue(WAITING_OF_CALLER, WAITING)
        self._process: Process | None = None
        self._running: set[asyncio.Task[Prepared]] = set()

    async def __call__(self, raw: bytes, task: Task, caller: str) -> Prepared:
        """Returns the prepared body, or a rejection if it takes more than `task.seconds` or too many calls wait."""
        try:
            async with asyncio.timeout(self._patience):
                await self._queue.acquire(caller)
                # A caller who leaves does not stop the process: a new one costs more than the rest of the work.
                running = asyncio.create_task(self._carry_out(task, raw))
                self._running.add(running)
                running.add_done_callback(self._running.discard)
                return await asyncio.shield(running)
        except (TimeoutError, Full):
            return Prepared(rejection=_BUSY)

    async def close(self) -> None:
        """Ends the process."""
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._end()

    async def _carry_out(self, task: Task, raw: bytes) -> Prepared:
        try:
            process = await self._started()
            result = await self._ask(process, task, raw)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            log.error("a heavy body took too long: %s", type(error).__name__)
            await self._end()
            return Prepared(rejection=_TOO_COSTLY)
        except OSError as error:
            log.error("the process for heavy bodies cannot be used: %s", type(error).__name__)
            await self._end()
            return Prepared(rejection=_BUSY)
        except Exception as error:  # noqa: BLE001 - a bug ends one call, and the process may be out of step
            log.error("a body could not be translated: %s", type(error).__name__)
            await self._end()
            return Prepared(rejection=_FAILED)
        finally:
            self._queue.release()
        if result.prepared is None:
            log.error("a body could not be translated: %s", result.failure)
            return Prepared(rejection=_TOO_COSTLY if result.failure == "MemoryError" else _FAILED)
        return result.prepared

    async def _ask(self, process: Process, task: Task, raw: bytes) -> Result:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(frame(msgspec.msgpack.encode(task)) + len(raw).to_bytes(LENGTH_BYTES, "big"))
        process.stdin.write(raw)
        async with asyncio.timeout(HANGING_SECONDS):
            leaves = await _frame(process.stdout)
            result = await _frame(process.stdout)
        if leaves == b"\x01":
            await self._end()
        return msgspec.msgpack.decode(result, type=Result)

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            environ = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _MODULE, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environ, limit=_CHUNK
            )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()  # also closes both pipes


async def _frame(stream: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await stream.readexactly(LENGTH_BYTES), "big")
    return await stream.readexactly(length)


_BUSY = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway is busy with large requests, try again in a moment",
    reason=Reason.OVERLOADED,
    detail="overloaded",
    status=503,
    headers=(("retry-after", "2"),),
)
_TOO_COSTLY = Rejection(
    kind=Kind.TOO_LARGE,
    message="the body takes too much time or memory to translate",
    reason=Reason.REQUEST_TOO_LARGE,
    code="request_too_large",
    detail="body_too_costly",
)
_FAILED = Rejection(kind=Kind.API, message="internal translation error", reason=Reason.INTERNAL, detail="internal")


class Full(Exception):
    """As many calls wait as may."""


class FairQueue:
    """A lock for one call at a time, given to callers in turns."""

    def __init__(self, for_caller: int, in_all: int) -> None:
        """`for_caller`, `in_all`: how many calls may wait."""
        self._for_caller = for_caller
        self._in_all = in_all
        self._taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def acquire(self, caller: str) -> None:
        """Returns when it is this call's turn. Raises Full."""
        if not self._taken:
            self._taken = True
            return
        own = self._waiting.get(caller, ())
        if len(own) >= self._for_caller or sum(map(len, self._waiting.values())) >= self._in_all:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(caller, turn)
            raise

    def release(self) -> None:
        """Gives the turn to the oldest call of the next caller, who then goes to the end of the queue."""
        while self._waiting:
            caller, own = next(iter(self._waiting.items()))
            turn = own.popleft()
            self._waiting.move_to_end(caller)
            if not own:
                del self._waiting[caller]
            if not turn.cancelled():  # else its call has given up, and has not run since to say so
                turn.set_result(None)
                return
        self._taken = False

    def _leave(self, caller: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.release()  # it had its turn, and cannot use it
            return
        with contextlib.suppress(ValueError, KeyError):
            own = self._waiting[caller]
            own.remove(turn)
            if not own:
                del self._waiting[caller]
