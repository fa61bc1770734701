"""Counters of several machines keep to the limit, also while Redis comes and goes. With a real server."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import from_url
from redis.asyncio import Redis as Client

from extproc.config.schema_store import Redis
from extproc.store import shared_counters
from extproc.store.counters import Taken
from extproc.store.overrides import Change, Override
from extproc.store.shared_counters import SharedCounters
from tests.redis_server import RedisServer, redis_server
from tests.store.machines import NOW, Machines, claim, settled, used

IN_SCRIPT = frozenset({"set", "hgetall", "exists", "hdel", "hincrby", "ttl", "expire", "info", "hello"})
"""Redis counts what a script calls, too; and this test's own question."""


def test_what_one_machine_holds_counts_for_the_other(play: Any) -> None:
    async def scene(machines: Machines) -> None:
        one, two = machines
        assert (await one.take("w", [claim(8)], 1)).granted == [8]
        refused = await two.take("w", [claim(3)], 1)
        assert (refused.granted, refused.refused, refused.may_fit_later) == ([], 0, True)
        await one.settle("w", [settled(2, 8)])
        assert (await two.take("w", [claim(8)], 1)).granted == [8]
        refused = await one.take("w", [claim(9)], 1)
        assert (refused.refused, refused.may_fit_later, refused.used) == (0, False, [10])

    play(2, scene)


def test_of_several_claims_all_are_granted_or_none(play: Any) -> None:
    async def scene(machines: Machines) -> None:
        await machines[0].take("w", [claim(1, 10, account="small")], 1)
        both = [claim(1, 100, account="large"), claim(10, 10, account="small")]
        assert (await machines[0].take("w", both, 1)).refused == 1
        assert await used(machines[0], "large") == 0

    play(1, scene)


def test_amounts_are_exact_as_large_as_they_may_be(play: Any) -> None:
    async def scene(machines: Machines) -> None:
        huge = 10**15 - 1
        await machines[0].take("w", [claim(huge, 10**15)], 1)
        await machines[0].settle("w", [settled(huge - 3, 5)])
        assert await used(machines[0]) == huge - 3 + huge - 5

    play(1, scene)


def test_a_limit_of_nothing_refuses_also_what_costs_nothing(play: Any) -> None:
    async def scene(machines: Machines) -> None:
        assert await machines[0].take("w", [claim(0, 0)], 1) == Taken([], [0], [0], 0)
        assert (await machines[0].take("w", [claim(0, 1)], 1)).refused == -1

    play(1, scene)


def test_a_key_that_redis_returns_twice_is_shown_once(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Client.scan_iter

    async def twice(self: Client, **options: Any) -> AsyncIterator[Any]:
        async for key in scan(self, **options):
            yield key
            yield key

    monkeypatch.setattr(Client, "scan_iter", twice)

    async def scene(machines: Machines) -> None:
        await machines[0].settle("w", [settled(4, 0, "b\x1fusd\x1fann")])
        assert [one.account for one in await machines[0].states()] == ["b\x1fusd\x1fann"]

    play(1, scene)


def test_a_reset_is_one_script(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can come between reading and deleting, or between them and the audit."""
    for name in ("hgetall", "hdel"):
        monkeypatch.setattr(Client, name, None)

    async def scene(machines: Machines) -> None:
        change = Change(1, "ann", "api", "reset", "a", 4, 0)
        await machines[0].settle("w", [settled(4, 0)])
        await machines[0].take("w", [claim(2)], 1)
        await machines[0].reset("a", change)
        assert await machines[0].changes(5) == [change]
        assert await used(machines[0]) == 2, "what is held stays"

    play(1, scene)


def test_older_buckets_count_no_more(play: Any) -> None:
    async def scene(machines: Machines) -> None:
        await machines[0].settle("w", [settled(4, 0), settled(5, 0, bucket=NOW + 10)])
        assert (await machines[0].take("w", [claim(3, bucket=NOW + 20)], 1)).used == [9]
        assert (await machines[0].take("w", [claim(3, bucket=NOW + 20, oldest=NOW + 10)], 1)).used == [5]

    play(1, scene)


def test_what_a_worker_or_a_machine_that_is_gone_held_is_free(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(machines: Machines) -> None:
        one, two = machines
        await one.take("w", [claim(4)], 1)
        await one.end("w")
        await one.renew()
        assert await used(two) == 0
        monkeypatch.setattr(shared_counters, "LEASE_SECONDS", 0.3)
        await one.take("w", [claim(4)], 1)
        assert (await two.states(["a"]))[0].held == 4
        deadline = time.monotonic() + 10
        while (await two.states(["a"]))[0].held:  # also before a claim has removed it
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        while await used(two):  # nobody renews its lease
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    play(2, scene)


def test_many_machines_at_once_stay_within_the_limit(play: Any) -> None:
    async def scene(machines: Machines) -> None:
        chance = random.Random(7)
        spent: list[int] = []

        async def call(machine: SharedCounters, worker: str) -> None:
            amount = chance.randrange(1, 6)
            if (await machine.take(worker, [claim(amount, 200)], 4)).refused < 0:
                await asyncio.sleep(0)
                spent.append(chance.randrange(amount + 1))
                await machine.settle(worker, [settled(spent[-1], amount)])

        calls = [call(chance.choice(machines), f"w{chance.randrange(4)}") for _ in range(600)]
        await asyncio.gather(*calls)
        assert 0 < sum(spent) <= 200
        assert await used(machines[0]) == sum(spent)
        more = [(await machines[n % 3].take("w", [claim(1, 200)], 4)).refused for n in range(210)]
        assert sum(spent) + more.count(-1) == 200, "and all of it can be used"

    play(3, scene)


def test_a_claim_of_several_budgets_is_one_round_trip(play: Any, redis: RedisServer) -> None:
    async def scene(machines: Machines) -> None:
        claims = [claim(1, account=name) for name in "abc"]
        await machines[0].take("w", claims, 1)  # connects, and loads the script
        before = commands()
        for _ in range(3):
            assert (await machines[0].take("w", claims, 1)).refused < 0
        after = commands()
        sent = {name: after[name] - before.get(name, 0) for name in after if name not in IN_SCRIPT}
        assert {name: count for name, count in sent.items() if count} == {"evalsha": 3}

    def commands() -> dict[str, int]:
        with from_url(redis.url) as client:
            stats: dict[str, Any] = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}

    play(1, scene)


def test_a_user_with_the_documented_rights_is_enough(tmp_path: Path) -> None:
    """As docs/budgets.md names them."""
    rights = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text().partition("`+eval ")[2].partition("`")[0]
    user = f"gw on >secret ~extproc:* -@all +eval {rights}"
    with redis_server(tmp_path, "--user", *user.split()) as server:

        async def scene() -> None:
            one = SharedCounters(Redis(url=server.url, username="gw", timeout=1), "secret")
            assert (await one.take("w", [claim(4)], 1)).granted == [4]
            await one.settle("w", [settled(1, 4)])
            await one.renew()
            assert await used(one) == 1
            change = Change(1, "ann", "api", "set", "b\x1fusd\x1fk", 1, 5)
            assert await one.override("b\x1fusd\x1fk", lambda _: (Override(5), change)) == change
            assert (await one.overrides())["b\x1fusd\x1fk"].limit == 5
            assert await one.states() == []
            await one.reset("a", change)
            assert await one.changes(2) == [change, change]
            assert await used(one) == 0
            await one.close()

        asyncio.run(scene())
