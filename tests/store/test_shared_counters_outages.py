"""Counters in Redis while it cannot be reached, answers are lost, or the clock jumps."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_store import Redis
from extproc.store import shared_counters
from extproc.store.interface import StoreDown
from extproc.store.shared_counters import SharedCounters
from tests.redis_server import RedisServer
from tests.store.machines import NOW, Machines, claim, settled, used


def test_what_was_used_while_redis_was_down_is_counted_when_it_is_back(play: Any, redis: RedisServer) -> None:
    async def scene(machines: Machines) -> None:
        one = machines[0]
        await one.take("w", [claim(4)], 1)
        redis.stop()
        with pytest.raises(StoreDown):
            await one.settle("w", [settled(3, 4)])
        with pytest.raises(StoreDown):
            await one.take("w", [claim(4)], 1)
        await one.settle("w", [settled(2, 0)])  # of a call that went on without a reservation
        redis.start()
        await _until_renewed(one)
        assert await _until_reached(one) == 5

    play(1, scene)


def test_a_long_outage_does_not_fill_the_memory(play: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used meanwhile is added up."""
    monkeypatch.setattr(shared_counters, "MAX_UNSENT", 10)

    async def scene(machines: Machines) -> None:
        one = machines[0]
        one._most_unsent = 10  # noqa: SLF001
        granted = await one.take("w", [claim(4, 1000)], 1)
        redis.stop()
        for number in range(200):
            with contextlib.suppress(StoreDown):
                await one.settle("w", [settled(1, 4 if not number else 0), settled(2, 0, account=f"b{number % 3}")])
        assert granted.granted == [4] and len(one._unsent) < 30  # noqa: SLF001
        redis.start()
        await _until_renewed(one)
        assert await _until_reached(one) == 200
        assert await used(one, "b0") == 2 * 67

    play(1, scene)


def test_after_a_restart_of_redis_one_claim_fails_and_no_further_one(play: Any, redis: RedisServer) -> None:
    """Each connection that is open is closed by then, not only the one that the first claim takes."""

    async def scene(machines: Machines) -> None:
        one = machines[0]
        await asyncio.gather(*(one.take("w", [claim(1, 100, account=f"k{number}")], 1) for number in range(8)))
        redis.stop()
        redis.start()
        with contextlib.suppress(StoreDown):
            await one.take("w", [claim(1, 100)], 1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(StoreDown):
                await one.take("w", [claim(1, 100)], 1)
                break
            await asyncio.sleep(0.02)
        found = await asyncio.gather(*(one.take("w", [claim(1, 100)], 1) for _ in range(16)))
        assert [taken.granted for taken in found] == [[1]] * 16

    play(1, scene)


def test_who_waits_for_a_turn_waits_no_further_once_redis_is_down(tmp_path: Path) -> None:
    """A server that takes connections and never answers."""

    async def scene() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        one = SharedCounters(Redis(url=f"redis://127.0.0.1:{port}", timeout=0.2))
        began = time.monotonic()
        found = await asyncio.gather(*(one.take("w", [claim(1)], 1) for _ in range(300)), return_exceptions=True)
        assert {type(answer) for answer in found} == {StoreDown}
        assert time.monotonic() - began < 5 * 2 * 0.2, "not one turn after the other"
        await one.close()
        server.close()

    asyncio.run(scene())


def test_what_a_claim_has_got_while_another_failed_is_given_back(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(machines: Machines) -> None:
        one, other = machines
        slow = asyncio.create_task(one.take("w", [claim(2)], 1))
        await asyncio.sleep(0)  # it is under way
        one._rename()  # noqa: SLF001 - as a claim does that fails meanwhile
        assert (await slow).granted == [2]
        await one.settle("w", [settled(1, 2)])
        await one.renew()
        assert await used(other) == 1

    play(2, scene)


def test_a_clock_that_jumps_back_does_not_prolong_an_outage(redis: RedisServer, tmp_path: Path) -> None:
    now = float(NOW)

    async def scene() -> None:
        nonlocal now
        one = SharedCounters(Redis(url=redis.url, prefix=f"{tmp_path.name}:", timeout=1), clock=lambda: now)
        redis.stop()
        with pytest.raises(StoreDown):
            await one.take("w", [claim(4)], 1)
        redis.start()
        now -= 86400
        assert await _until_reached(one) == 0
        await one.close()

    asyncio.run(scene())


async def _until_renewed(machine: SharedCounters) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return await machine.renew()
        except StoreDown:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def _until_reached(machine: SharedCounters) -> int:
    deadline = time.monotonic() + 10
    while True:
        try:
            return await used(machine)
        except StoreDown:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def lost_answer(_seconds: float) -> AsyncIterator[None]:
    """Redis has done it, and the connection is gone before the answer."""
    yield
    raise StoreDown("lost")


def test_a_batch_whose_answer_was_lost_counts_once(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(machines: Machines) -> None:
        one = machines[0]
        with monkeypatch.context() as patch:
            patch.setattr(shared_counters, "as_store_down", lost_answer)
            with pytest.raises(StoreDown):
                await one.settle("w", [settled(3, 0)])
        await one.renew()
        assert await _until_reached(one) == 3

    play(1, scene)


def test_a_claim_whose_answer_was_lost_is_free_when_the_lease_ends(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(machines: Machines) -> None:
        monkeypatch.setattr(shared_counters, "LEASE_SECONDS", 0.3)
        monkeypatch.setattr(shared_counters, "RENEW_SECONDS", 0.0)
        one, two = machines
        await one.take("w", [claim(2)], 1)
        with monkeypatch.context() as patch:
            patch.setattr(shared_counters, "as_store_down", lost_answer)
            with pytest.raises(StoreDown):
                await one.take("w", [claim(4)], 1)
        await one.renew()
        assert await used(two) == 6
        await one.settle("w", [settled(1, 2)])
        await one.renew()
        deadline = time.monotonic() + 10
        while await used(two) != 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    play(2, scene)


@contextlib.asynccontextmanager
async def proxy(port: int, cut: asyncio.Event) -> AsyncIterator[int]:
    """Yields a port that leads to this one. With `cut` set, the next answer is lost with its connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if target is writer and cut.is_set():
                    cut.clear()
                    break
                target.write(data)
            target.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_a_claim_whose_answer_was_lost_is_not_made_twice(play: Any, redis: RedisServer, tmp_path: Path) -> None:
    async def scene(machines: Machines) -> None:
        cut = asyncio.Event()
        async with proxy(redis.port, cut) as port:
            one = SharedCounters(Redis(url=f"redis://localhost:{port}", prefix=f"{tmp_path.name}:", timeout=1))
            assert (await one.take("w", [claim(1)], 1)).granted == [1]
            cut.set()
            with pytest.raises(StoreDown):
                await one.take("w", [claim(2)], 1)
            assert not cut.is_set()
            assert await used(machines[0]) == 3
            await one.close()

    play(1, scene)
