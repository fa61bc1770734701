"""Leaving takes time, and more than one signal may come meanwhile."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from extproc.supervisor import processes
from extproc.supervisor.processes import Group, start, supervise
from tests.supervisor.test_processes import GRACE, STAYS, child, gone, run, told


def test_the_garbage_collector_runs_once_all_have_started() -> None:
    async def begin(groups: list[Group]) -> Callable[[], Awaitable[None]]:
        groups.append([child(STAYS)])
        await start(groups)

        async def watch() -> None:
            assert gc.isenabled()
            told(signal.SIGTERM)
            await asyncio.Event().wait()

        return watch

    gc.disable()
    try:
        run(supervise(begin, GRACE))
    finally:
        gc.enable()


def test_a_second_signal_does_not_wait() -> None:
    async def begin(groups: list[Group]) -> None:
        groups.append([child(STAYS)])
        await start(groups)
        told(signal.SIGINT)

    async def leave() -> None:
        told(signal.SIGINT)
        await asyncio.Event().wait()

    run(supervise(begin, GRACE, leave=leave))


PASSES_ON = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGTERM))
told, tell = os.pipe()
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)  # a signal just before `signal.pause()` would not end that pause
print("ready", flush=True)
while True:
    os.read(told, 1)
"""


def test_a_second_signal_while_they_are_stopped_kills_them() -> None:
    """The child, told to leave, sends it, and stays."""
    stubborn = child(PASSES_ON)

    async def begin(groups: list[Group]) -> None:
        groups.append([stubborn])
        await start(groups)
        told(signal.SIGTERM)

    run(supervise(begin, 60))
    assert gone(stubborn.pid)


def test_who_crashes_while_the_others_leave_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.001)
    one = child(STAYS)

    async def begin(groups: list[Group]) -> None:
        groups.append([one])
        await start(groups)
        told(signal.SIGTERM)

    async def leave() -> None:
        first = one.pid
        os.kill(first, signal.SIGKILL)
        while one.pid == first:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)

    run(supervise(begin, GRACE, leave=leave))
