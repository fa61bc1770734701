"""Real children, as small as Python allows. What they wait for is an event or a signal, never time."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from extproc.supervisor import processes
from extproc.supervisor.processes import Child, Group, NotStarted, start, supervise

READY = "print('ready', flush=True)\n"
# Python runs a handler between two of its steps: a signal just before `signal.pause()` would not end that pause.
PAUSE = """
import os, signal
told, tell = os.pipe()
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)
os.read(told, 1)
"""
STAYS = READY + PAUSE
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAYS
GRACE = 10.0


def child(script: str, name: str = "child", *arguments: str, **options: Any) -> Child:
    return Child(name, [sys.executable, "-I", "-S", "-c", script, *arguments], **options)


def run(coroutine: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 20))


async def ended(one: Child) -> None:
    """It goes by itself, with all it has to say said and read."""
    process = one._process  # noqa: SLF001 - asyncio alone may wait for a child of its own
    assert process is not None
    await process.wait()
    await one.stop(GRACE)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_first_line_says_that_it_is_ready() -> None:
    async def scene() -> None:
        heard: list[str] = []
        one = child("print('on 8080', flush=True); print('one'); print('two')", on_line=heard.append)
        await one.start()
        assert one.first_line == "on 8080"
        await ended(one)
        assert heard == ["one", "two"]

    run(scene())


def test_one_that_announces_nothing_is_ready_at_once() -> None:
    async def scene() -> None:
        one = child(PAUSE, announces=False)
        await one.start()
        assert not gone(one.pid)
        await one.stop(GRACE)
        assert gone(one.pid)

    run(scene())


@pytest.mark.parametrize(
    ("script", "said", "code"),
    [
        ("import sys; sys.exit('no such file\\nline 2')", "no such file\nline 2", 1),
        ("raise SystemExit(7)", "child did not start", 7),
        ("import os; os.kill(os.getpid(), 9)", "child did not start", -9),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\n'); sys.exit(3)", "\ufffd", 3),
    ],
)
def test_one_that_does_not_start_is_quoted(script: str, said: str, code: int) -> None:
    async def scene() -> None:
        one = child(script)
        with pytest.raises(NotStarted) as found:
            await one.start()
        assert (str(found.value), found.value.code) == (said, code)
        await one.stop(GRACE)

    run(scene())


def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 0.05)

    async def scene() -> None:
        one = child(PAUSE)
        with pytest.raises(NotStarted, match=r"^child was not ready after 0.05 s$"):
            await one.start()
        monkeypatch.undo()
        await one.stop(GRACE)
        assert gone(one.pid)

    run(scene())


def test_errors_are_passed_on_once_it_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        one = child("import signal, sys\nsignal.signal(15, lambda *_: sys.exit('careful'))\n" + STAYS)
        await one.start()
        await one.stop(GRACE)

    run(scene())
    assert capsys.readouterr().err == "careful\n"


def test_a_line_too_long_is_left_out_and_reading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LINE_LIMIT", 1000)

    async def scene() -> None:
        heard: list[str] = []
        one = child(READY + "print('a'); print('x' * 500_000); print('b')", on_line=heard.append)
        await one.start()
        await ended(one)
        assert (heard[0], heard[-1]) == ("a", "b")
        assert max(map(len, heard)) <= 1000

    run(scene())


ECHO = READY + "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)\n"


def test_it_is_greeted_at_each_start_and_told_more_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.001)

    async def scene() -> None:
        lines: asyncio.Queue[str] = asyncio.Queue()
        greetings = iter([b"one\n", b"two\n"])
        one = child(ECHO, on_line=lines.put_nowait, greeting=lambda: next(greetings))
        one.send(b"to nobody\n")
        await one.start()
        one.send(b"more\n")
        assert [await lines.get(), await lines.get()] == ["got one", "got more"]
        watching = asyncio.create_task(one.watch())
        os.kill(one.pid, signal.SIGKILL)
        assert await lines.get() == "got two"
        watching.cancel()
        await one.stop(GRACE)

    run(scene())


def test_one_that_does_not_listen_is_killed() -> None:
    async def scene() -> None:
        one = child(STUBBORN)
        await one.start()
        await one.stop(0.05)
        assert gone(one.pid)

    run(scene())


def test_one_that_crashed_comes_back(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.001)

    async def scene() -> None:
        lines: asyncio.Queue[str] = asyncio.Queue()
        one = child(READY + "import os; print(os.getpid(), flush=True)\n" + PAUSE, on_line=lines.put_nowait)
        await one.start()
        watching = asyncio.create_task(one.watch())
        first = int(await lines.get())
        os.kill(first, signal.SIGKILL)
        second = int(await lines.get())
        assert one.pid == second != first
        watching.cancel()
        await one.stop(GRACE)
        assert gone(first)
        assert gone(second)

    with caplog.at_level(logging.ERROR, "extproc"):
        run(scene())
    assert "child ended with status -9, starting it again in" in caplog.text


def pauses(script: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a child that keeps ending is left alone."""
    found: list[float] = []
    sleep = asyncio.sleep

    async def scene() -> None:
        enough = asyncio.Event()

        async def noted(seconds: float) -> None:
            found.append(seconds)
            if len(found) == count:
                enough.set()
                await asyncio.Event().wait()
            await sleep(0)

        one = child(script)
        await one.start()
        monkeypatch.setattr(asyncio, "sleep", noted)
        watching = asyncio.create_task(one.watch())
        await enough.wait()
        watching.cancel()
        await one.stop(GRACE)

    run(scene())
    return found


def test_the_pause_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.3)
    assert pauses(READY, 4, monkeypatch) == [0.1, 0.2, 0.3, 0.3]


def test_the_pause_is_short_again_after_a_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RECOVERED_SECONDS", -1.0)
    assert pauses(READY, 3, monkeypatch) == [0.1, 0.1, 0.1]


def test_one_that_does_not_come_back_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "started"
    once = f"import os, sys\nif os.path.exists({str(mark)!r}): sys.exit('no')\nopen({str(mark)!r}, 'w').close()\n"
    assert pauses(once + READY, 3, monkeypatch) == [0.1, 0.2, 0.4]


def test_all_are_started_before_one_is_complained_about() -> None:
    async def scene() -> None:
        good, bad = child(STAYS), child("import sys; sys.exit('bad')", "bad")
        with pytest.raises(NotStarted, match=r"^bad$"):
            await start([[bad], [good]])
        assert good.first_line == "ready"
        await processes.stop([[bad, good]], GRACE)

    run(scene())


LEAVES = """
import signal, sys
def leave(*_):
    with open(sys.argv[1], "a") as file:
        print(sys.argv[2], file=file)
    sys.exit()
signal.signal(signal.SIGTERM, leave)
"""
LEAVES += STAYS


def told(number: int) -> None:
    """As a person at the terminal would, once the loop has come to rest."""
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_leave_all_are_stopped_group_after_group(tmp_path: Path, number: int) -> None:
    book = tmp_path / "left"
    pids: list[int] = []

    async def begin(groups: list[Group]) -> None:
        groups += [[child(LEAVES, name, str(book), name)] for name in ("front", "workers", "demo")]
        await start(groups)
        pids.extend(one.pid for group in groups for one in group)
        told(number)

    async def leave() -> None:
        assert not book.exists() and not any(map(gone, pids))
        book.write_text("told\n")

    run(supervise(begin, GRACE, leave=leave))
    assert book.read_text().split() == ["told", "front", "workers", "demo"]
    assert all(map(gone, pids))


@pytest.mark.parametrize(("terminal", "ends"), [([True, True], False), ([False, False], False), ([True, False], True)])
def test_sighup_ends_all_only_if_the_terminal_is_gone(
    monkeypatch: pytest.MonkeyPatch, terminal: list[bool], ends: bool
) -> None:
    looks = iter(terminal)
    monkeypatch.setattr(processes, "_has_terminal", lambda: next(looks))
    heard: list[str] = []

    def hung_up() -> None:
        heard.append("reload")
        told(signal.SIGTERM)

    async def begin(groups: list[Group]) -> None:
        groups.append([child(STAYS)])
        await start(groups)
        told(signal.SIGHUP)

    run(supervise(begin, GRACE, hung_up=hung_up))
    assert heard == ([] if ends else ["reload"])


def test_something_runs_beside_the_children() -> None:
    async def begin(groups: list[Group]) -> Callable[[], Awaitable[None]]:
        async def beside() -> None:
            told(signal.SIGTERM)
            await asyncio.Event().wait()

        return beside

    run(supervise(begin, GRACE))


def ended_by(begin: Callable[[list[Group]], Awaitable[None]], *errors: type[Exception]) -> None:
    if errors:
        with pytest.raises(errors):
            run(supervise(begin, GRACE))
    else:
        run(supervise(begin, GRACE))


def test_nothing_stays_when_one_does_not_start() -> None:
    good = child(STAYS)

    async def begin(groups: list[Group]) -> None:
        groups += [[good], [child("raise SystemExit(2)", "bad")]]
        await start(groups)

    ended_by(begin, NotStarted)
    assert good.pid
    assert gone(good.pid)


def test_nothing_stays_when_told_in_the_middle_of_a_start() -> None:
    hanging = child(PAUSE)

    async def begin(groups: list[Group]) -> None:
        groups.append([hanging])
        told(signal.SIGTERM)
        await start(groups)

    ended_by(begin)
    assert hanging.pid == 0 or gone(hanging.pid)


def test_nothing_stays_after_a_bug() -> None:
    good = child(STAYS)

    async def begin(groups: list[Group]) -> None:
        groups.append([good])
        await start(groups)
        raise KeyError("bug")

    ended_by(begin, KeyError)
    assert gone(good.pid)
