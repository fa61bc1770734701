"""Leaving: no call is lost while one processor goes, what runs is finished, and nothing stays behind."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.e2e.bare import bare_envoy, configured, processor, started, wait_for_processors
from tests.e2e.processes import children, running
from tests.e2e.sse import events, kinds, said, streaming
from tests.e2e.stack import ONE_WORKER, SECONDS, Model, Stack, free_port, prompt, up

TEXT = "word " * 100


class SteadyCalls:
    """One after the other in two threads."""

    def __init__(self, stack: Stack) -> None:
        self.statuses: list[int] = []
        self._answered: list[int] = []
        self._stack = stack
        self._token = stack.good_token
        self._stop = threading.Event()
        self._counted = threading.Condition()
        self._threads = [threading.Thread(target=self._call) for _ in range(2)]

    def _call(self) -> None:
        while not self._stop.wait(0.02):
            answered = len(self.statuses)
            status = self._stack.call(prompt("demo: say hello")).status_code
            with self._counted:
                self.statuses.append(status)
                self._answered.append(answered)
                self._counted.notify_all()

    def await_more(self, count: int) -> None:
        with self._counted:
            wanted = len(self.statuses) + count
            assert self._counted.wait_for(lambda: len(self.statuses) >= wanted, SECONDS)

    def begun_after(self, count: int) -> set[int]:
        """Statuses of the calls that began when so many had been answered."""
        return {status for status, answered in zip(self.statuses, self._answered, strict=True) if answered >= count}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(SECONDS)


def test_one_of_two_leaves_and_no_call_is_lost(model: Model) -> None:
    with configured(model.url) as setup, contextlib.ExitStack() as later:
        first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
        leaving, _ = later.enter_context(processor(setup, first))
        stack = later.enter_context(bare_envoy(setup, [first, second], healthy=1))
        # There is one processor yet: this stream is its.
        answer = later.enter_context(streaming(stack, f"demo: say {TEXT}\ndemo: slow 100"))
        found = [next(coming := events(answer))]
        later.enter_context(processor(setup, second))
        wait_for_processors(setup, 2)
        with SteadyCalls(stack) as calls:
            calls.await_more(10)
            leaving.send_signal(signal.SIGTERM)
            found.extend(coming)
            assert leaving.wait(SECONDS) == 0
            calls.await_more(10)
        assert set(calls.statuses) == {200}
        assert kinds(found)[-1] == "message_stop" and said(found) == TEXT.strip()
        assert stack.record(answer)["reason"] is None


def test_a_supervisor_that_is_killed_leaves_no_worker_behind(model: Model) -> None:
    with configured(model.url) as setup, processor(setup, f"127.0.0.1:{free_port()}") as (supervisor, _):
        [worker] = children(supervisor.pid)
        supervisor.kill()
        deadline = time.monotonic() + SECONDS
        while worker in running():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_up_leaves_nothing_behind(tmp_path_factory: pytest.TempPathFactory, model: Model) -> None:
    with up(tmp_path_factory.mktemp("leaving"), environ={"MODEL_URL": model.url}) as stack:
        family = set(children(stack.process.pid))
        assert len(family) >= 2
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(SECONDS) == 0
        assert not family & running().keys()
    assert "Traceback" not in stack.printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_finishes_what_runs(tmp_path: Path, model: Model, number: int) -> None:
    """And takes no new connection meanwhile."""
    with up(tmp_path, environ={"MODEL_URL": model.url}, arguments=ONE_WORKER) as stack:
        with streaming(stack, f"demo: say {TEXT}\ndemo: slow 20") as answer:
            found = [next(coming := events(answer))]
            stack.process.send_signal(number)
            stack.out.first(lambda line: line if "leaves when the calls that run have ended (1)" in line else None)
            with pytest.raises(httpx.ConnectError):
                stack.call(prompt("demo: say hello"))
            found.extend(coming)
        assert kinds(found)[-1] == "message_stop" and said(found) == TEXT.strip()
        assert stack.record(answer)["reason"] is None
        assert stack.process.wait(SECONDS) == 0


def test_a_second_signal_ends_what_runs(tmp_path: Path, model: Model) -> None:
    """That is the gateway's doing, not the client's."""
    with up(tmp_path, environ={"MODEL_URL": model.url}, arguments=ONE_WORKER) as stack:
        with streaming(stack, f"demo: say {TEXT}\ndemo: slow 1000") as answer:
            next(coming := events(answer))
            stack.process.send_signal(signal.SIGINT)
            stack.out.first(lambda line: line if "a second signal ends them" in line else None)
            stack.process.send_signal(signal.SIGINT)
            with pytest.raises(httpx.RemoteProtocolError):
                list(coming)
        assert stack.process.wait(SECONDS) == 0
        assert stack.record(answer)["reason"] == "Internal"


def test_a_second_signal_ends_what_runs_beside_another_envoy(model: Model) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        configured(model.url) as setup,
        processor(setup, address) as (leaving, _),
        bare_envoy(setup, [address], healthy=1) as stack,
        streaming(stack, f"demo: say {TEXT}\ndemo: slow 1000") as answer,
    ):
        next(coming := events(answer))
        leaving.send_signal(signal.SIGTERM)
        leaving.send_signal(signal.SIGINT)
        with pytest.raises(httpx.RemoteProtocolError):
            list(coming)
        assert leaving.wait(SECONDS) == 0
        assert stack.record(answer)["reason"] == "Internal"


def test_up_leaves_nothing_behind_when_its_terminal_is_closed(model: Model) -> None:
    """Then there is nobody to print to, either."""
    with configured(model.url) as setup, contextlib.ExitStack() as later:
        argv = [sys.executable, "-m", "extproc", "up", "--config", str(setup.path)]
        ours, its = pty.openpty()
        screen = later.enter_context(os.fdopen(ours, "rb"))
        process = subprocess.Popen(
            argv, cwd=setup.folder, env=setup.environ, stdin=its, stdout=its, stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one system call, no lock
        )  # fmt: skip
        os.close(its)
        later.callback(process.wait)
        later.callback(process.terminate)
        assert any(b"ANTHROPIC_AUTH_TOKEN" in line for line in screen)
        family = set(children(process.pid))
        assert httpx.head(f"http://127.0.0.1:{setup.port}/", verify=False, timeout=SECONDS).status_code == 200
        # With the terminal there, it means: reload.
        process.send_signal(signal.SIGHUP)
        assert any(b"is in force" in line for line in screen)
        screen.close()
        process.wait(SECONDS)
        assert not family & running().keys()


@pytest.mark.parametrize("count", [1, 3])
def test_up_may_be_told_to_leave_in_the_midst_of_starting(model: Model, count: int) -> None:
    """When its first or its third child has begun."""
    with configured(model.url) as setup:
        argv = [sys.executable, "-m", "extproc", "up", "--config", str(setup.path), "--workers", "2"]
        with started(argv, setup.folder, setup.environ) as (process, out, err):
            family: set[int] = set()
            while len(family) < count and process.poll() is None:
                family |= children(process.pid).keys()
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                family |= children(process.pid).keys()
            assert process.returncode == 0
            assert not family & running().keys()
            out.thread.join(SECONDS)
            err.thread.join(SECONDS)
            assert "Traceback" not in out.text + err.text
