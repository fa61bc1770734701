"""Tokens that have been verified, so that the next call with one costs a look-up. Bounded by bytes."""

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from extproc.policy.facts import Caller
from extproc.policy.keys.keys import Key, KeySource

OVERHEAD_BYTES = 1024
"""What an entry costs beside its claims."""


def _never() -> bool:
    return False


class Verified(msgspec.Struct, frozen=True):
    """A token that proved something when it was verified."""

    caller: Caller
    until: float
    """The second from which it no longer does."""
    key: Key
    source: KeySource
    revoked: Callable[[], bool] = _never
    """Whether it has been revoked by now."""

    def is_valid(self, now: float) -> bool:
        current = self.source.current()
        return now < self.until and current is not None and current.holds(self.key) and not self.revoked()


class TokenCache:
    """Forgets what has not been used for longest when it would hold more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[Verified, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: str, now: float) -> Caller | None:
        digest = _digest(token)
        found = self._entries.get(digest)
        if found is None:
            return None
        if not found[0].is_valid(now):
            self._drop(digest)
            return None
        self._entries.move_to_end(digest)
        return found[0].caller

    def add(self, token: str, verified: Verified) -> None:
        digest = _digest(token)
        self._drop(digest)
        size = OVERHEAD_BYTES + size_of(verified.caller.claims)
        self._entries[digest] = verified, size
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, digest: bytes) -> None:
        _, size = self._entries.pop(digest, (None, 0))
        self._bytes -= size


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def size_of(value: Any) -> int:
    """Bytes of memory that a JSON value takes."""
    total, pending = 0, [value]
    while pending:
        one = pending.pop()
        total += sys.getsizeof(one)
        if isinstance(one, dict):
            pending += one.keys()
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return total
