"""The store's interface. Keys are ASCII text, values are bytes, and every entry ends at a time of its own."""

from typing import Protocol


class StoreDown(Exception):
    """The store cannot be reached or written; `str()` says why, without an address or a secret."""


class MaybeDone(StoreDown):
    """The answer to a change was lost: nobody knows whether it was made."""


class Store(Protocol):
    """Every method is atomic, also between processes and, for a shared store, between machines; every one may raise
    StoreDown. `ttl`: seconds from now, after which an entry is gone."""

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Sets the entry, whether or not there is one."""

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Sets the entry if there is none. Returns whether it was set."""

    async def get(self, key: str) -> bytes | None:
        """Returns the value, or None."""

    async def take(self, key: str) -> bytes | None:
        """Deletes the entry and returns its value, or None; of several callers one gets it."""

    async def swap(self, key: str, old: bytes, new: bytes, ttl: float) -> bool:
        """Sets the entry if its value is `old`. Returns whether it was set."""

    async def scan(self, prefix: str) -> dict[str, bytes]:
        """Returns all entries whose keys begin with `prefix`."""

    async def close(self) -> None: ...
