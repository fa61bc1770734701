"""The process that translates heavy bodies, and the worker's side of it."""

import asyncio
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import msgspec
import psutil
import pytest

from extproc.gateway.preparation import Prepared, Task, prepare
from extproc.providers.model_settings import ModelSettings
from extproc.transport.translator import PATIENCE_SECONDS, WAITING_OF_CALLER, FairQueue, Full, Translator
from tests.gateway.test_preparation import task

# Of the process's own time: the worst that the bounds below let through takes far longer on any machine.
HOPELESS = msgspec.structs.replace(task("messages", "chat"), seconds=0.02)
GIVEN = task("messages", "chat")
GIVEN_UNLIMITED = msgspec.structs.replace(
    GIVEN, job=msgspec.structs.replace(GIVEN.job, settings=ModelSettings(limits=("max_tokens",)))
)
SECONDS = 20.0
P = ParamSpec("P")


def body(words: str = "hello", turns: int = 1) -> bytes:
    return msgspec.json.encode(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": words}] * turns}
    )


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


SLOW = body(turns=50_000)


@asynccontextmanager
async def translating(patience: float = SECONDS) -> AsyncIterator[Translator]:
    translator = Translator(patience)
    try:
        yield translator
    finally:
        await translator.close()


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if any("translator_process" in word for word in one.cmdline())]


async def until_gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + SECONDS
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@in_a_loop
async def test_another_process_makes_what_would_be_made_here() -> None:
    async with translating() as translator:
        assert not children()
        for raw in (body(), body("x" * 5_000_000), body(turns=20_000), b"[]", b'{"messages": 1}'):
            assert await translator(raw, GIVEN, "a") == prepare(raw, GIVEN)
        assert len(children()) == 1
    assert not children()


@in_a_loop
async def test_the_loop_goes_on_meanwhile() -> None:
    async with translating() as translator:
        await translator(body(), GIVEN, "a")
        longest = 0.0
        work = asyncio.create_task(translator(SLOW, GIVEN, "a"))
        while not work.done():
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)
        assert (await work).request is not None
        assert longest < 0.1, "CPU of this thread between two looks at the loop"


@in_a_loop
async def test_what_takes_too_long_is_refused_and_the_next_body_has_a_new_process() -> None:
    async with translating() as translator:
        await translator(body(), GIVEN, "a")
        [first] = children()
        refused = (await translator(SLOW, HOPELESS, "a")).rejection
        assert refused is not None and (refused.http_status, refused.detail) == (413, "body_too_costly")
        assert (await translator(body(), GIVEN, "a")).request is not None
        [second] = children()
        assert first.pid != second.pid


@in_a_loop
async def test_a_process_that_dies_takes_only_its_body_with_it() -> None:
    async with translating() as translator:
        await translator(body(), GIVEN, "a")
        [process] = children()
        work = asyncio.create_task(translator(SLOW, GIVEN, "a"))
        await asyncio.sleep(0)
        process.send_signal(signal.SIGKILL)
        assert (await work).rejection is not None
        assert (await translator(body(), GIVEN, "a")).request is not None


@in_a_loop
async def test_a_task_that_cannot_be_sent_is_a_bug_of_one_call() -> None:
    settings = msgspec.structs.replace(GIVEN.job.settings, overrides={"top_k": 2**70})
    unsendable = msgspec.structs.replace(GIVEN, job=msgspec.structs.replace(GIVEN.job, settings=settings))
    async with translating() as translator:
        refused = (await translator(body(), unsendable, "a")).rejection
        assert refused is not None and refused.http_status == 500
        assert (await translator(body(), GIVEN, "a")).request is not None


@in_a_loop
async def test_numbers_that_no_process_can_tell_another_are_refused() -> None:
    async with translating() as translator:
        raw = body().replace(b'"max_tokens":9', b'"max_tokens":1' + b"0" * 30)
        refused = (await translator(raw, GIVEN_UNLIMITED, "a")).rejection
        assert refused is not None and refused.http_status == 400


@in_a_loop
async def test_callers_who_wait_too_long_are_told_to_come_back() -> None:
    async with translating(patience=0.0) as translator:
        refused = (await translator(SLOW, GIVEN, "a")).rejection
        assert refused is not None and refused.http_status == 503 and dict(refused.headers)["retry-after"]
    assert PATIENCE_SECONDS < 5, "Envoy's message_timeout"


@in_a_loop
async def test_one_callers_bodies_do_not_crowd_out_another_ones() -> None:
    async with translating() as translator:
        order: list[str] = []

        async def ask(name: str) -> Prepared:
            done = await translator(body(), GIVEN, name)
            order.append(name if done.request else f"{name} refused")
            return done

        greedy = [asyncio.create_task(ask("greedy")) for _ in range(WAITING_OF_CALLER + 3)]
        await asyncio.sleep(0)
        await ask("modest")
        await asyncio.gather(*greedy)
        assert order.count("greedy refused") == 2, "one runs, and so many may wait"
        assert [name for name in order if "refused" not in name].index("modest") <= 2


@in_a_loop
async def test_a_caller_who_leaves_holds_nothing_up() -> None:
    async with translating() as translator:
        work = [asyncio.create_task(translator(SLOW, GIVEN, "a")) for _ in range(3)]
        await asyncio.sleep(0)
        for one in work:
            one.cancel()
        assert (await translator(body(), GIVEN, "a")).request is not None


@in_a_loop
async def test_no_secret_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with translating() as translator:
        await translator(body(), GIVEN, "a")
        [process] = children()
        environ = process.environ()
        assert "sk-secret" not in str(environ) and set(environ) < set(os.environ)


def test_it_ends_with_its_worker() -> None:
    """However the worker ends: its end of the pipe closes."""

    async def start() -> psutil.Process:
        translator = Translator()
        await translator(body(), GIVEN, "a")
        [process] = children()
        held = translator._process  # noqa: SLF001 - the worker's end of the pipe, which goes when the worker does
        assert held is not None and held.stdin is not None
        held.stdin.close()
        await until_gone(process)
        await translator.close()
        return process

    assert not asyncio.run(start()).is_running()


def test_a_task_holds_no_secret() -> None:
    names = {field.name for field in msgspec.structs.fields(Task)} | {f.name for f in msgspec.structs.fields(GIVEN.job)}
    assert not names & {"credential", "api_key", "caller"}


async def waiting(queue: FairQueue, caller: str) -> "asyncio.Task[None]":
    task = asyncio.create_task(queue.acquire(caller))
    await asyncio.sleep(0)
    return task


def test_callers_take_turns() -> None:
    async def play() -> None:
        queue = FairQueue(3, 9)
        await queue.acquire("a")
        tasks = {name: await waiting(queue, name[0]) for name in ("a1", "a2", "b1", "c1")}
        order = []
        for _ in tasks:
            queue.release()
            await asyncio.sleep(0)
            [had_turn] = [name for name, task in tasks.items() if task.done() and name not in order]
            order.append(had_turn)
        assert order == ["a1", "b1", "c1", "a2"]

    asyncio.run(play())


@pytest.mark.parametrize(("for_caller", "in_all"), [(1, 9), (9, 1)])
def test_no_more_may_wait(for_caller: int, in_all: int) -> None:
    async def play() -> None:
        queue = FairQueue(for_caller, in_all)
        await queue.acquire("a")
        task = await waiting(queue, "a")
        with pytest.raises(Full):
            await queue.acquire("a")
        queue.release()
        await task

    asyncio.run(play())


def test_a_turn_that_comes_as_its_call_gives_up_is_the_next_ones() -> None:
    async def play() -> None:
        queue = FairQueue(3, 9)
        await queue.acquire("a")
        gone, next_one = await waiting(queue, "b"), await waiting(queue, "c")
        gone.cancel()
        queue.release()  # before the cancelled call has run
        await asyncio.wait_for(next_one, 5)
        assert gone.cancelled()
        queue.release()
        await asyncio.wait_for(queue.acquire("d"), 5)

    asyncio.run(play())


def test_a_call_that_gives_up_with_its_turn_passes_it_on() -> None:
    async def play() -> None:
        queue = FairQueue(3, 9)
        await queue.acquire("a")
        gone, next_one = await waiting(queue, "b"), await waiting(queue, "c")
        queue.release()
        gone.cancel()
        await asyncio.wait_for(next_one, 5)

    asyncio.run(play())
