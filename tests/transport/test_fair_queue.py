import asyncio

import pytest

from extproc.transport.fair_queue import FairQueue, Full


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
