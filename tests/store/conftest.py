"""A Redis for the tests of a module, and machines that share it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_store import Redis
from extproc.store.shared_counters import SharedCounters
from tests.redis_server import RedisServer, redis_server
from tests.store.machines import Machines


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def play(redis: RedisServer, tmp_path: Path) -> Callable[[int, Callable[[Machines], Awaitable[Any]]], Any]:
    """Plays a scene with so many machines that begin with nothing used."""

    def played(count: int, scene: Callable[[Machines], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            machines = [
                SharedCounters(Redis(url=redis.url, prefix=f"{tmp_path.name}:", timeout=1)) for _ in range(count)
            ]
            try:
                async with asyncio.timeout(60):
                    return await scene(machines)
            finally:
                for one in machines:
                    await one.close()

        return asyncio.run(whole())

    return played
