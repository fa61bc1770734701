"""The shared store: Redis 6.2 or newer, or Valkey, for several machines."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError
from redis.retry import Retry

from extproc.config.schema_sign_in import Redis
from extproc.store.interface import StoreDown

_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_PAGE = 500
_GLOB = re.compile(r"([*?\[\]\\])")


class SharedStore:
    def __init__(self, settings: Redis, password: str | None = None, ca_file: str | None = None) -> None:
        """Connects with the first operation. `ca_file`: trusted roots instead of the system's."""
        self._prefix = settings.prefix
        self._seconds = settings.timeout
        self._redis = connection(settings, password, ca_file)
        self._swap = self._redis.register_script(_SWAP)

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
            return _bytes(await self._redis.getdel(self._prefix + key))

    async def swap(self, key: str, old: bytes, new: bytes, ttl: float) -> bool:
        async with as_store_down(self._seconds):
            return bool(await self._swap(keys=[self._prefix + key], args=[old, new, _milliseconds(ttl)]))

    async def scan(self, prefix: str) -> dict[str, bytes]:
        pattern = _GLOB.sub(r"\\\1", self._prefix + prefix) + "*"
        async with as_store_down(self._seconds):
            names = [name async for name in self._redis.scan_iter(match=pattern, count=_PAGE)]
            found: dict[str, bytes] = {}
            for first in range(0, len(names), _PAGE):
                page = names[first : first + _PAGE]
                values = await self._redis.mget(page)
                found |= {
                    name.decode().removeprefix(self._prefix): value
                    for name, value in zip(page, values, strict=True)
                    if value is not None
                }
            return found

    async def close(self) -> None:
        await self._redis.aclose()


def connection(settings: Redis, password: str | None, ca_file: str | None) -> redis.asyncio.Redis:
    """Returns a pool that connects when it is used. `ca_file`: trusted roots instead of the system's."""
    roots: dict[str, Any] = {"ssl_ca_certs": ca_file} if ca_file is not None else {}
    return redis.asyncio.Redis.from_url(
        settings.url,
        username=settings.username,
        password=password,
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        # A connection that the server has closed meanwhile is replaced once.
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
        **roots,
    )


@contextlib.asynccontextmanager
async def as_store_down(seconds: float) -> AsyncIterator[None]:
    """Raises StoreDown for what goes wrong, and after twice so many seconds."""
    try:
        async with asyncio.timeout(2 * seconds):
            yield
    except (AuthenticationError, AuthorizationError):
        raise StoreDown("Redis refuses the user name or password") from None
    except ResponseError as error:  # the server's own words: READONLY, OOM, NOPERM, LOADING
        raise StoreDown(f"Redis refuses: {str(error)[:80]}") from None
    except (RedisError, OSError, TimeoutError) as error:  # their texts name the server
        raise StoreDown(f"Redis cannot be reached ({type(error).__name__})") from None


def _bytes(value: bytes | str | None) -> bytes | None:
    assert not isinstance(value, str)  # nothing is decoded unless it is configured so
    return value


def _milliseconds(ttl: float) -> int:
    return max(1, round(ttl * 1000))
