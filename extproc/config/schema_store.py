"""The keys of `store` in `gateway.yaml`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import Secret

Kind = Literal["server", "sentinel", "cluster"]
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""Each with what is at the address, and whether it is reached with TLS."""
_DEFAULT_PORTS: dict[Kind, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_EXPECTED = (
    "expected redis://HOST:PORT/NUMBER, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or "
    "redis+cluster://HOST:PORT,HOST:PORT, with rediss for TLS, and without a password (password: {env: NAME})"
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A URL of Redis, parsed."""

    kind: Kind
    tls: bool
    nodes: list[tuple[str, int]]
    """Hosts and ports: the server, the Sentinels, or nodes of the cluster."""
    service: str = ""
    """The name by which Sentinels know the primary."""
    database: int = 0


def redis_address(url: str) -> RedisAddress:
    """Raises ValueError."""
    try:
        parts = urlsplit(url)
        kind, tls = _SCHEMES[parts.scheme]
        nodes = [_node(one, _DEFAULT_PORTS[kind]) for one in parts.netloc.split(",")]
        service, database = _path(kind, parts.path)
    except (KeyError, ValueError):
        raise ValueError(_EXPECTED) from None
    if parts.query or parts.fragment or "@" in parts.netloc or (len(nodes) > 1 and kind == "server"):
        raise ValueError(_EXPECTED)
    return RedisAddress(kind, tls, nodes, service, database)


def _node(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    port = default_port if parts.port is None else parts.port
    if not parts.hostname or port == 0:
        raise ValueError
    return parts.hostname, port


def _path(kind: Kind, path: str) -> tuple[str, int]:
    """The service, which only Sentinels have, and the database, which a cluster has not."""
    words = [word for word in path.split("/") if word]
    service = words.pop(0) if kind == "sentinel" and words else ""
    database = words.pop(0) if kind != "cluster" and words else "0"
    if words or not database.isdecimal() or (kind == "sentinel") != bool(service):
        raise ValueError
    return service, int(database)


def _redis_url(url: str) -> str:
    redis_address(url)
    return url


class Sentinel(BaseModel):
    """Credentials for the Sentinels themselves. `username` and `password` of `redis` are for the servers that they
    watch."""

    model_config = STRICT

    username: str | None = None
    """A user in the Sentinels' access control list; absent: their default user."""
    password: Secret
    """Where the Sentinels' password is read from."""


class Redis(BaseModel):
    """Redis or Valkey: one server, a primary that Sentinels watch, or a cluster."""

    model_config = STRICT

    url: Annotated[str, AfterValidator(_redis_url)]
    """One server: `redis://HOST:PORT/NUMBER`. A primary that Sentinels know by the name SERVICE:
    `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/NUMBER`, with the Sentinels' addresses (port 26379 if none is given).
    A cluster: `redis+cluster://HOST:PORT,HOST:PORT`, with some of its nodes, which know the others. With TLS, also to
    the Sentinels: `rediss://`, `rediss+sentinel://`, `rediss+cluster://`."""
    username: str | None = None
    """A user in the servers' access control list; absent: their default user."""
    password: Secret | None = None
    """Where the servers' password is read from."""
    sentinel: Sentinel | None = None
    """Credentials for the Sentinels; absent: they ask for none."""
    ca_file: Path | None = None
    """Trusted roots instead of the system's."""
    prefix: str = Field("extproc:", max_length=64)
    """Begins every key, so that several gateways can share a server."""
    timeout: float = Field(2, gt=0, le=30)
    """Seconds for one operation."""

    @model_validator(mode="after")
    def _fitting(self) -> "Redis":
        if self.ca_file is not None and not self.address.tls:
            raise ValueError("ca_file is for rediss:// and other URLs with TLS")
        if self.sentinel is not None and self.address.kind != "sentinel":
            raise ValueError("sentinel is for redis+sentinel:// and rediss+sentinel://")
        # Braces say which part of a key decides about its slot:
        # https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
        if self.address.kind == "cluster" and set(self.prefix) & set("{}"):
            raise ValueError("expected a prefix without braces, which have a meaning in the keys of a cluster")
        return self

    @cached_property
    def address(self) -> RedisAddress:
        """`url`, parsed."""
        return redis_address(self.url)


class Store(BaseModel):
    """Where what outlives a call is kept: sign-ins that are pending, keys, revocations, counters of budgets."""

    model_config = STRICT

    folder: Path | None = None
    """Folder of the embedded store, relative to this file and made with mode 0700; `state` if nothing is configured."""
    redis: Redis | None = None
    """Instead of a folder, where several machines share what they keep."""
    when_down: Literal["closed", "open"] = "closed"
    """While the store cannot be reached, calls that `budgets` limit get 503, or go on without these limits (`open`).
    What else needs the store answers 503 in any case."""

    @model_validator(mode="after")
    def _one(self) -> "Store":
        if self.folder is not None and self.redis is not None:
            raise ValueError("what is kept is kept either in a folder or in redis")
        return self
