"""Redis with Sentinels and as a cluster: counters go on with the next primary. With real servers."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import RedisCluster

from extproc.config.schema_store import Redis
from extproc.store.counters import Claim, Settlement
from extproc.store.interface import StoreDown
from extproc.store.overrides import Change, Override
from extproc.store.redis_client import close, connect
from extproc.store.shared import SharedStore
from extproc.store.shared_counters import SharedCounters
from tests import redis_topologies
from tests.redis_server import redis_server
from tests.redis_topologies import PASSWORD, SENTINEL_PASSWORD, Topology, play

NOW = int(time.time())
KINDS: dict[str, Callable[..., AbstractContextManager[Topology]]] = {
    "sentinel": redis_topologies.sentinel,
    "cluster": redis_topologies.cluster,
}
LIMIT, TASKS, MANY = 400, 8, 30


@pytest.fixture(scope="module", params=KINDS)
def topology(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with KINDS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


def claim(account: str, limit: int = 10) -> Claim:
    return Claim(account, 1, limit, NOW, NOW, NOW + 3600)


def with_machines(topology: Topology, scene: Callable[[list[SharedCounters]], Awaitable[Any]]) -> None:
    async def whole() -> None:
        machines = [SharedCounters(topology.settings(), *topology.access) for _ in range(2)]
        try:
            await scene(machines)
        finally:
            for one in machines:
                await one.close()

    play(whole())


def changed(account: str) -> Change:
    return Change(at=NOW, by="olga", via="command", action="set", account=account, old=10, new=5)


def test_budgets_of_one_call_are_counted_by_one_script(topology: Topology) -> None:
    async def scene(machines: list[SharedCounters]) -> None:
        one, two = machines
        accounts = [f"budget-{number}\x1frequests\x1fkey{{{number}}}" for number in range(5)]
        assert (await one.take("w", [claim(name) for name in accounts], 1)).granted == [1] * 5
        await one.settle("w", [Settlement(name, NOW, NOW + 3600, 1, 1) for name in accounts])
        await one.renew()
        await one.override(accounts[0], lambda _: (Override(5), changed(accounts[0])))
        assert await two.overrides() == {accounts[0]: Override(5)}
        found = {state.account: (state.used, state.held) for state in await two.states()}
        assert found == dict.fromkeys(accounts, ({NOW: 1}, 0))
        await two.reset(accounts[0], changed(accounts[0]))
        assert (await two.take("w", [claim(name) for name in accounts], 1)).used == [0, 1, 1, 1, 1]

    with_machines(topology, scene)


class Load:
    """Calls on two machines until the limit is reached."""

    def __init__(self, machines: list[SharedCounters]) -> None:
        self._machines = machines
        self._renewing: list[asyncio.Task[None]] = []
        self.granted: list[float] = []
        self.refused: list[str] = []
        """Because the store was down."""
        self.a_third = asyncio.Event()
        """Of the limit is used."""

    async def run(self) -> None:
        self._renewing = [asyncio.create_task(_renew(machine)) for machine in self._machines]
        try:
            await asyncio.gather(*(self._call(self._machines[number % 2]) for number in range(TASKS)))
        finally:
            for one in self._renewing:
                one.cancel()
            await asyncio.gather(*self._renewing, return_exceptions=True)

    async def _call(self, machine: SharedCounters) -> None:
        refusals = 0
        while refusals < MANY:  # what is held may come back
            try:
                taken = await machine.take("w", [claim("a\x1frequests\x1fk", LIMIT)], 1)
                refusals = refusals + 1 if taken.refused >= 0 else 0
                if taken.refused < 0:
                    self.granted.append(time.monotonic())
                    await machine.settle("w", [Settlement("a\x1frequests\x1fk", NOW, NOW + 3600, 1, 1)])
            except StoreDown as error:
                self.refused.append(str(error))
            if len(self.granted) > LIMIT // 3:
                self.a_third.set()
            await asyncio.sleep(0.01)


async def _renew(machine: SharedCounters) -> None:
    while True:
        with contextlib.suppress(StoreDown):
            await machine.renew()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_another_server_takes_the_place_of_one_that_is_killed_under_load(kind: str, tmp_path: Path) -> None:
    """Beyond the limit is at most what the primary had granted and not sent to its replica when it was killed."""

    async def scene(machines: list[SharedCounters]) -> None:
        load = Load(machines)
        calls = asyncio.create_task(load.run())
        await load.a_third.wait()
        before = time.monotonic()
        running.budgets.stop()
        killed = time.monotonic()
        await asyncio.wait_for(calls, 30)
        unsure = TASKS + sum(before - 0.1 < at < killed for at in load.granted)
        assert LIMIT - unsure <= len(load.granted) <= LIMIT + unsure
        assert max(load.granted) > killed and load.refused
        assert all(server not in text for text in load.refused for server in ("127.0.0.1", "localhost", "::1"))

    with KINDS[kind](tmp_path, redis_topologies.IMPATIENT) as running:
        with_machines(running, scene)


def problem(settings: Redis, *access: str | None) -> str:
    """Why the store cannot be used."""

    async def scene() -> str:
        store = SharedStore(settings, *access)
        try:
            await store.get("k")
        except StoreDown as error:
            return str(error)
        finally:
            await store.close()
        return ""

    return play(scene())


def test_wrong_passwords(topology: Topology) -> None:
    settings, roots = topology.settings(), topology.ca_file
    assert problem(settings, "wrong", roots, SENTINEL_PASSWORD) == "Redis refuses the user name or password"
    assert problem(settings, PASSWORD, None, SENTINEL_PASSWORD) != ""
    if settings.sentinel is not None:
        assert problem(settings, PASSWORD, roots, "wrong") == "no Sentinel names a primary that is up"
        other = topology.settings(url=topology.url.replace("mymaster", "other"))
        assert problem(other, *topology.access) == "no Sentinel names a primary that is up"


@pytest.mark.parametrize("topology", ["cluster"], indirect=True)
def test_a_user_with_the_documented_rights_is_enough_in_a_cluster(topology: Topology) -> None:
    page = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text()
    everywhere = page.partition("`+eval ")[2].partition("`")[0].split()
    clusters = page.partition("in a cluster also `")[2].partition("`")[0].split()

    async def scene() -> None:
        admin = connect(topology.settings(username="admin"), *topology.access)
        assert isinstance(admin, RedisCluster)
        user = ["limited", "on", f">{PASSWORD}", "~extproc:*", "-@all", "+eval", *everywhere, *clusters]
        await admin.execute_command("ACL SETUSER", *user, target_nodes=RedisCluster.ALL_NODES)
        await close(admin)
        one = SharedCounters(topology.settings(username="limited"), *topology.access)
        assert (await one.take("w", [claim("limited")], 1)).granted == [1]
        await one.settle("w", [Settlement("limited", NOW, NOW + 3600, 1, 1)])
        await one.renew()
        await one.override("limited\x1fusd\x1fk", lambda _: (Override(5), changed("limited")))
        await one.reset("limited", changed("limited"))
        assert "limited\x1fusd\x1fk" not in {state.account for state in await one.states()}
        await one.close()

    play(scene())


@pytest.mark.parametrize("topology", ["sentinel"], indirect=True)
def test_a_sentinel_that_does_not_answer_is_passed_over(topology: Topology) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = topology.url.replace("//", f"//localhost:{silent.getsockname()[1]},")
        assert problem(topology.settings(url=url, timeout=2), *topology.access) == ""


@pytest.mark.parametrize("topology", ["cluster"], indirect=True)
def test_a_url_of_one_server_that_belongs_to_a_cluster(topology: Topology) -> None:
    url = f"rediss://{topology.url.rpartition(',')[2]}"
    told = {problem(topology.settings(url=url, prefix=f"{n}:"), *topology.access) for n in range(20)}
    assert told <= {"", "the server belongs to a cluster; expected a URL with redis+cluster:// or rediss+cluster://"}
    assert len(told) == 2


def test_a_url_of_a_cluster_for_one_server(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        told = problem(Redis(url=f"redis+cluster://localhost:{server.port}"))
    assert told == "Redis refuses: This instance has cluster support disabled"


def test_a_client_that_never_connected_is_closed() -> None:
    for url in ("redis://h/1", "redis+sentinel://a,b/name", "redis+cluster://a,b"):
        play(close(connect(Redis(url=url))))
