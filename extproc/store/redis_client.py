"""Clients of Redis or Valkey: one server, a primary that Sentinels watch, or a cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.asyncio import Redis as Client
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from extproc.config.schema_store import Redis
from extproc.store.interface import StoreDown

AnyClient = Client | RedisCluster


class _Cluster(RedisCluster):
    """A client that knows who has which slot before it sends a command; redis-py sends the first ones to any node, and
    each is then redirected."""

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        await self.initialize()
        return await super().execute_command(*args, **kwargs)


def connect(
    settings: Redis,
    password: str | None = None,
    ca_file: str | None = None,
    sentinel_password: str | None = None,
    *,
    retries: int = 1,
) -> AnyClient:
    """Returns a client that connects when it is used. `ca_file`: trusted roots instead of the system's. `retries`: how
    often a command is sent again after its connection broke, when nobody knows whether it was carried out."""
    address = settings.address
    options: dict[str, Any] = {
        "username": settings.username,
        "password": password,
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
        "retry": Retry(NoBackoff(), retries),
        # A firewall may have dropped an idle connection: it gets a PING before the next command.
        "health_check_interval": 30,
        **({"ssl": True, "ssl_ca_certs": ca_file} if address.tls else {}),
    }
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.nodes]
        # A slot that has moved is learned by itself: to read all of them again closes connections that are in use.
        # Other slots may be without a node: https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/
        return _Cluster(startup_nodes=nodes, reinitialize_steps=0, require_full_coverage=False, **options)
    options["db"] = address.database
    if address.kind == "server":
        [(host, port)] = address.nodes
        return Client(host=host, port=port, **options)
    own = settings.sentinel
    seconds = settings.timeout / len(address.nodes)  # they are asked one after the other
    sentinel_options = options | {
        "db": 0,
        # Sentinels have users of their own, and one database.
        "username": own.username if own is not None else None,
        "password": sentinel_password,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(address.nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    primary: Client = sentinel.master_for(address.service, **options)
    return primary


async def close(client: AnyClient) -> None:
    await client.aclose()
    if isinstance(client, RedisCluster):  # which leaves connections open if its last command failed
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        await client.connection_pool.sentinel_manager.aclose()


async def drop_idle(client: AnyClient) -> None:
    """Closes connections that nobody uses: where the server has closed one, it has closed the others, too. Those of a
    cluster are closed by redis-py itself."""
    if isinstance(client, Client):
        await client.connection_pool.disconnect(inuse_connections=False)


class Script:
    """A Lua script, all of whose keys are in one slot of a cluster."""

    def __init__(self, client: AnyClient, text: str) -> None:
        self._client = client
        self._text = text
        self._sha = client.register_script(text).sha

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """One round trip, except where a server does not know the script yet."""
        try:
            return await self._client.evalsha(self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # `SCRIPT LOAD` would need all primaries of a cluster, also those that the keys are not on.
            return await self._client.eval(self._text, len(keys), *keys, *arguments)


@contextlib.asynccontextmanager
async def as_store_down(seconds: float) -> AsyncIterator[None]:
    """Raises StoreDown for what goes wrong, and after twice so many seconds."""
    try:
        async with asyncio.timeout(2 * seconds):
            yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise StoreDown(_problem(error)) from None
    except AttributeError as error:
        if error.name not in ("writelines", "read"):
            raise
        # redis-py has closed the connection that was just being opened, since another one had found the cluster down.
        raise StoreDown("Redis cannot be reached (ConnectionError)") from None


def _problem(error: BaseException) -> str:
    """Without an address: the texts of most errors name the server."""
    while isinstance(error, RedisClusterException) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    match error:
        case AuthenticationError() | AuthorizationError():
            return "Redis refuses the user name or password"
        case MasterNotFoundError():
            return "no Sentinel names a primary that is up"
        case AskError():
            return "the server belongs to a cluster; expected a URL with redis+cluster:// or rediss+cluster://"
        case ResponseError():  # the server's own words: READONLY, OOM, NOPERM, CLUSTERDOWN
            return f"Redis refuses: {str(error)[:80]}"
        case _:
            return f"Redis cannot be reached ({type(error).__name__})"
