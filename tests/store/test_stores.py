"""Both stores keep the same promises."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_store import Redis
from extproc.store.embedded import FILE, EmbeddedStore
from extproc.store.interface import Store, StoreDown
from extproc.store.shared import SharedStore
from tests import redis_topologies
from tests.certificates import Authority
from tests.redis_server import RedisServer, redis_server
from tests.redis_topologies import Topology, play

HOUR = 3600.0
KINDS = ("embedded", "server", "sentinel", "cluster")
Open = Callable[[], Store]
Scene = Callable[[Store], Awaitable[Any]]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with redis_topologies.sentinel(tmp_path_factory.mktemp("sentinel")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with redis_topologies.cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same empty store each time."""
    if request.param == "embedded":
        return lambda: EmbeddedStore(tmp_path / "state")
    prefix = f"{tmp_path.name}:"
    if request.param == "server":
        server: RedisServer = request.getfixturevalue("redis")
        return lambda: SharedStore(Redis(url=server.url, prefix=prefix))
    topology: Topology = request.getfixturevalue(request.param)
    return lambda: SharedStore(topology.settings(prefix=prefix), *topology.access)


def run(opened: Open, scene: Scene) -> Any:
    async def whole() -> Any:
        store = opened()
        try:
            return await scene(store)
        finally:
            await store.close()

    return play(whole())


def test_an_entry_is_kept_for_the_next_process(opened: Open) -> None:
    run(opened, lambda store: store.put("a/1", b"\0value", HOUR))
    assert run(opened, lambda store: store.get("a/1")) == b"\0value"
    assert run(opened, lambda store: store.get("a/2")) is None


def test_put_overwrites_and_add_does_not(opened: Open) -> None:
    async def scene(store: Store) -> None:
        assert await store.add("k", b"1", HOUR)
        assert not await store.add("k", b"2", HOUR)
        assert await store.get("k") == b"1"
        await store.put("k", b"3", HOUR)
        assert await store.get("k") == b"3"

    run(opened, scene)


def test_an_entry_ends(opened: Open) -> None:
    async def scene(store: Store) -> None:
        for name in ("take", "swap", "get"):  # the last ends last
            await store.put(f"short/{name}", b"1", 0.05)
        await store.put("short/stays", b"1", HOUR)
        deadline = asyncio.get_running_loop().time() + 5
        while await store.get("short/get") is not None:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert await store.take("short/take") is None
        assert not await store.swap("short/swap", b"1", b"2", HOUR)
        assert await store.scan("short/") == {"short/stays": b"1"}
        assert await store.add("short/get", b"new", HOUR)
        assert await store.get("short/get") == b"new"

    run(opened, scene)


def test_one_of_many_takes_an_entry(opened: Open) -> None:
    async def scene(store: Store) -> None:
        other = opened()
        await store.put("code", b"1", HOUR)
        taken = await asyncio.gather(*(one.take("code") for one in (store, other) for _ in range(10)))
        assert sorted(map(bool, taken)) == [False] * 19 + [True]
        await other.close()

    run(opened, scene)


def test_one_of_many_adds_and_one_swaps(opened: Open) -> None:
    async def scene(store: Store) -> None:
        other = opened()
        pairs = [(one, str(n).encode()) for one in (store, other) for n in range(10)]
        added = await asyncio.gather(*(one.add("k", value, HOUR) for one, value in pairs))
        assert sum(added) == 1
        first = await store.get("k")
        assert first is not None
        swapped = await asyncio.gather(*(one.swap("k", first, b"new" + value, HOUR) for one, value in pairs))
        assert sum(swapped) == 1
        assert not await store.swap("nothing", b"", b"1", HOUR)
        await other.close()

    run(opened, scene)


@pytest.mark.parametrize("prefix", ["a/", "a*", "a[b]", "a\\", "a?"])
def test_a_scan_finds_what_begins_so_and_nothing_else(opened: Open, prefix: str) -> None:
    async def scene(store: Store) -> None:
        for key in (prefix, prefix + "1", prefix + "~", "aa", "a", "b/1", "ab1"):
            await store.put(key, key.encode(), HOUR)
        keys = {prefix, prefix + "1", prefix + "~"}
        assert await store.scan(prefix) == {key: key.encode() for key in keys}

    run(opened, scene)


WRITER = """
import asyncio, sys
from pathlib import Path
from extproc.store.embedded import EmbeddedStore

async def write():
    store = EmbeddedStore(Path(sys.argv[1]))
    for n in range(1_000_000):
        await store.put(f"n/{n}", b"x" * 100, 3600)
        print(n, flush=True)

asyncio.run(write())
"""


def test_the_embedded_store_survives_kill(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    last = 0
    while last < 20:
        last = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    last = max([last, *map(int, writer.stdout.read().split())])
    writer.stdout.close()
    kept = run(lambda: EmbeddedStore(folder), lambda store: store.scan("n/"))
    assert {f"n/{n}" for n in range(last + 1)} <= kept.keys()


def test_only_its_owner_reads_the_embedded_store(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    run(lambda: EmbeddedStore(folder), lambda store: store.put("k", b"secret", HOUR))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())


def test_ended_entries_leave_the_file(tmp_path: Path) -> None:
    now = [1000.0]
    store = EmbeddedStore(tmp_path, lambda: now[0])

    async def scene() -> None:
        await store.put("old", b"1", 10)
        now[0] += 100
        await store.put("new", b"1", 10)
        await store.close()

    asyncio.run(scene())
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        assert db.execute("SELECT key FROM entries").fetchall() == [("new",)]
    db.close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreDown, match="folder cannot be used"):
        EmbeddedStore(tmp_path / "state")
    (tmp_path / "store.sqlite").write_text("not a database, but longer than a header of one " * 10)
    with pytest.raises(StoreDown, match="not a database"):
        EmbeddedStore(tmp_path)


def test_redis_that_goes_and_comes_back(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:

        async def scene(store: Store) -> None:
            await store.put("k", b"1", HOUR)
            server.stop()
            with pytest.raises(StoreDown) as down:
                await store.get("k")
            assert str(server.port) not in str(down.value)
            server.start()
            assert await store.get("k") is None  # nothing was saved
            await store.put("k", b"2", HOUR)
            assert await store.get("k") == b"2"

        run(lambda: SharedStore(Redis(url=server.url, timeout=1)), scene)


def test_redis_with_tls_user_and_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("redis", "localhost", "127.0.0.1")
    certificates = ("--tls-cert-file", f"{tmp_path}/redis.pem", "--tls-key-file", f"{tmp_path}/redis.key")
    trust = ("--tls-ca-cert-file", f"{tmp_path}/ca.pem", "--tls-auth-clients", "no")
    user = (*["--user", "gateway", "on", ">correct", "~extproc:*", "+@all"], *["--user", "default", "off"])
    with redis_server(tmp_path, *certificates, *trust, *user, tls=True) as server:
        settings = Redis(url=server.url, username="gateway", ca_file=tmp_path / "ca.pem")

        def opened(password: str, ca_file: str | None) -> Open:
            return lambda: SharedStore(settings, password, ca_file)

        async def scene(store: Store) -> None:
            await store.put("k", b"1", HOUR)
            assert await store.swap("k", b"1", b"2", HOUR)
            assert await store.scan("k") == {"k": b"2"}

        run(opened("correct", f"{tmp_path}/ca.pem"), scene)
        with pytest.raises(StoreDown, match="refuses the user name or password") as refused:
            run(opened("wrong", f"{tmp_path}/ca.pem"), lambda store: store.get("k"))
        assert "wrong" not in str(refused.value).replace("user name or password", "")
        with pytest.raises(StoreDown, match="cannot be reached"):
            run(opened("correct", None), lambda store: store.get("k"))


def test_nobody_else_can_open_the_file_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it open goes on reading, whatever its mode becomes. The folder is one that was there before."""
    seen: list[int] = []
    connect = sqlite3.connect

    def connected(path: Path, **settings: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(path, **settings)
        made.execute("PRAGMA user_version = 1")
        seen.append(path.stat().st_mode & 0o777)
        return made

    monkeypatch.setattr(sqlite3, "connect", connected)
    before = os.umask(0)
    try:
        store = EmbeddedStore(tmp_path)
    finally:
        os.umask(before)
    asyncio.run(store.close())
    assert seen == [0o600]


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal", f"{FILE}.old"])
def test_a_link_in_the_place_of_the_file_leads_nowhere(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    elsewhere.chmod(0o644)
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    with contextlib.suppress(StoreDown):
        asyncio.run(EmbeddedStore(folder).close())
    assert (elsewhere.read_bytes(), elsewhere.stat().st_mode & 0o777) == (b"", 0o644)


def test_a_journal_that_another_process_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.glob

    def with_one_that_goes(folder: Path, pattern: str) -> list[Path]:
        return [*listed(folder, pattern), folder / f"{FILE}-journal"]

    monkeypatch.setattr(Path, "glob", with_one_that_goes)
    asyncio.run(EmbeddedStore(tmp_path / "state").close())
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600
