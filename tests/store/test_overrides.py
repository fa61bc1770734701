"""Limits that were changed by hand, and their audit, on one machine and on several."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from extproc.config.schema_store import Redis
from extproc.store import overrides, shared_counters
from extproc.store.counters import Counters, KeptCounters, LocalCounters
from extproc.store.interface import StoreDown
from extproc.store.overrides import COUNTERS, Change, Edit, Override
from extproc.store.shared_counters import SharedCounters
from tests.redis_server import RedisServer, redis_server

ACCOUNT = "b\x1fusd\x1fann"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


Play = Callable[[Callable[[Counters, Counters], Awaitable[None]]], None]


@pytest.fixture(params=["local", "shared"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a scene with the counters of two supervisors that share a store."""

    def made() -> Counters:
        if request.param == "local":
            counters = LocalCounters()
            counters.kept = KeptCounters(tmp_path)
            return counters
        server: RedisServer = request.getfixturevalue("redis")
        return SharedCounters(Redis(url=server.url, prefix=f"{tmp_path.name}:"))

    def run(scene: Callable[[Counters, Counters], Awaitable[None]]) -> None:
        async def whole() -> None:
            one, two = made(), made()
            try:
                await scene(one, two)
            finally:
                await one.close()
                await two.close()

        asyncio.run(whole())

    return run


def change(new: int = 5, by: str = "olga") -> Change:
    return Change(1_700_000_000, by, "api", "set", ACCOUNT, 1, new)


def adds(amount: int, by: str = "olga") -> Edit:
    return lambda known: (Override((known.limit or 0) + amount), change((known.limit or 0) + amount, by))


def test_a_change_and_its_entry_are_there_for_everybody(play: Play) -> None:
    async def scene(one: Counters, two: Counters) -> None:
        assert await one.override(ACCOUNT, adds(5)) == change(5)
        await two.override(ACCOUNT, adds(2))
        assert await one.overrides() == {ACCOUNT: Override(7)}
        assert await one.changes(10) == [change(7), change(5)]
        assert await two.changes(1) == [change(7)]

    play(scene)


def test_of_an_edit_that_fails_nothing_is_kept(play: Play) -> None:
    def fails(_: Override) -> tuple[Override, Change]:
        raise ValueError("no")

    async def scene(one: Counters, _: Counters) -> None:
        with pytest.raises(ValueError, match="no"):
            await one.override(ACCOUNT, fails)
        assert await one.overrides() == {} and await one.changes(10) == []
        await one.override(ACCOUNT, adds(1))

    play(scene)


def test_an_override_without_effect_is_forgotten(play: Play) -> None:
    async def scene(one: Counters, _: Counters) -> None:
        await one.override(ACCOUNT, adds(5))
        await one.override(ACCOUNT, lambda _: (Override(created=1, updated=2), change(1)))
        assert await one.overrides() == {}
        assert len(await one.changes(10)) == 2

    play(scene)


def test_a_reset_is_in_the_audit(play: Play) -> None:
    async def scene(one: Counters, two: Counters) -> None:
        reset = Change(1_700_000_000, "olga", "api", "reset", ACCOUNT, 9, 0)
        await one.reset(ACCOUNT, reset)
        assert await two.changes(10) == [reset]

    play(scene)


def test_only_the_last_changes_are_kept(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "MAX_CHANGES", 3)
    monkeypatch.setattr(shared_counters, "MAX_CHANGES", 3)

    async def scene(one: Counters, _: Counters) -> None:
        for _number in range(5):
            await one.override(ACCOUNT, adds(1))
        assert [entry.new for entry in await one.changes(10)] == [5, 4, 3]

    play(scene)


def test_two_machines_that_grant_at_once_lose_nothing(redis: RedisServer, tmp_path: Path) -> None:
    """The second one's change is made of the first one's."""

    async def scene() -> None:
        one, two = (SharedCounters(Redis(url=redis.url, prefix=f"{tmp_path.name}:")) for _ in range(2))
        await asyncio.gather(*(counters.override(ACCOUNT, adds(1)) for counters in (one, two, one, two)))
        assert (await one.overrides())[ACCOUNT].limit == 4
        assert sorted(entry.new for entry in await one.changes(10)) == [1, 2, 3, 4]
        await one.close()
        await two.close()

    asyncio.run(scene())


def test_without_a_file_nothing_is_changed() -> None:
    """A change that is kept nowhere would have no audit."""

    async def scene() -> None:
        counters = LocalCounters()
        with pytest.raises(StoreDown):
            await counters.override(ACCOUNT, adds(1))
        with pytest.raises(StoreDown):
            await counters.reset(ACCOUNT, change())

    asyncio.run(scene())


def test_reading_a_file_changes_nothing(tmp_path: Path) -> None:
    assert overrides.read_only(tmp_path / COUNTERS) is None
    assert not (tmp_path / COUNTERS).exists()
    kept = KeptCounters(tmp_path)
    kept.overrides.edit(ACCOUNT, adds(5))
    assert overrides.read_only(tmp_path / COUNTERS) == {ACCOUNT: Override(5)}
    kept.close()
    assert overrides.read_only(tmp_path / COUNTERS) == {ACCOUNT: Override(5)}


def test_a_file_that_is_none_of_ours_is_said(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / COUNTERS).execute("CREATE TABLE other (a)")
    with pytest.raises(StoreDown, match="no such table"):
        overrides.read_only(tmp_path / COUNTERS)


def test_what_is_in_force() -> None:
    one = Override(5, until=100, grants=[(2, 50), (3, 200)])
    assert [one.effective(1, now) for now in (0, 50, 100, 200)] == [10, 8, 4, 1]
    assert (one.set_limit(0), one.set_limit(100), one.granted(60)) == (5, None, 3)
