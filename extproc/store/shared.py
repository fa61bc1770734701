"""The shared store: Redis 6.2 or newer, or Valkey, for several machines."""

import re

from redis.asyncio import RedisCluster

from extproc.config.schema_store import Redis
from extproc.store.redis_client import Script, as_store_down, close, connect

_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_PAGE = 500
_GLOB = re.compile(r"([*?\[\]\\])")


class SharedStore:
    def __init__(
        self,
        settings: Redis,
        password: str | None = None,
        ca_file: str | None = None,
        sentinel_password: str | None = None,
    ) -> None:
        """Connects with the first operation. `ca_file`: trusted roots instead of the system's."""
        self._prefix = settings.prefix
        self._seconds = settings.timeout
        self._redis = connect(settings, password, ca_file, sentinel_password)
        self._swap = Script(self._redis, _SWAP)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        async with as_store_down(self._seconds):
            await self._redis.set(self._prefix + key, value, px=_milliseconds(ttl))

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        async with as_store_down(self._seconds):
            return bool(await self._redis.set(self._prefix + key, value, px=_milliseconds(ttl), nx=True))

    async def get(self, key: str) -> bytes | None:
        async with as_store_down(self._seconds):
            return _bytes(await self._redis.get(self._prefix + key))

    async def take(self, key: str) -> bytes | None:
        async with as_store_down(self._seconds):
            # One command, so that of two callers one gets the value: https://redis.io/docs/latest/commands/getdel/.
            return _bytes(await self._redis.getdel(self._prefix + key))

    async def swap(self, key: str, old: bytes, new: bytes, ttl: float) -> bool:
        async with as_store_down(self._seconds):
            return bool(await self._swap([self._prefix + key], [old, new, _milliseconds(ttl)]))

    async def scan(self, prefix: str) -> dict[str, bytes]:
        pattern = literal(self._prefix + prefix) + "*"
        async with as_store_down(self._seconds):
            names = [name async for name in self._redis.scan_iter(match=pattern, count=_PAGE)]
            found: dict[str, bytes] = {}
            for first in range(0, len(names), _PAGE):
                page = names[first : first + _PAGE]
                if isinstance(self._redis, RedisCluster):
                    # A cluster refuses MGET for keys of several slots.
                    values = await self._redis.mget_nonatomic(page)
                else:
                    values = await self._redis.mget(page)
                found |= {
                    name.decode().removeprefix(self._prefix): value
                    for name, value in zip(page, values, strict=True)
                    if value is not None
                }
            return found

    async def close(self) -> None:
        await close(self._redis)


def literal(text: str) -> str:
    """A pattern for `SCAN` that matches this text alone."""
    return _GLOB.sub(r"\\\1", text)


def _bytes(value: bytes | str | None) -> bytes | None:
    assert not isinstance(value, str)  # nothing is decoded unless it is configured so
    return value


def _milliseconds(ttl: float) -> int:
    # Redis refuses 0.
    return max(1, round(ttl * 1000))
