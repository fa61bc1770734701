"""What ends sessions before their time: entries in the store, which all machines look at each second."""

import math

from extproc.policy.authentication.revocations import Revoked, of_session, of_subject
from extproc.store.interface import Store

PREFIX, VERSION = "sign-in/revoked/", "sign-in/revoked-version"
REFRESH_SECONDS = 180 * 86400.0
"""Longer than a refresh token can be good for."""
ACCESS_SECONDS = 86400 + 3600.0
"""Longer than an access token can be good for."""


async def end_subject(store: Store, subject: str, now: float) -> None:
    """All sessions of this person that began up to now are over. Raises StoreDown."""
    await _end(store, of_subject(subject), now, now)


async def end_session(store: Store, session: str, now: float) -> None:
    """Raises StoreDown."""
    await _end(store, of_session(session), math.inf, now)


async def is_revoked(store: Store, subject: str, session: str, began: float) -> bool:
    """Whether the session is over. Raises StoreDown."""
    for name in (of_subject(subject), of_session(session)):
        until = await store.get(f"{PREFIX}long/{name}")
        if until is not None and began <= float(until):
            return True
    return False


async def _end(store: Store, name: str, until: float, now: float) -> None:
    value = repr(until).encode()
    await store.put(f"{PREFIX}long/{name}", value, REFRESH_SECONDS)
    await store.put(f"{PREFIX}short/{name}", value, ACCESS_SECONDS)
    await store.put(VERSION, f"{now} {name}".encode(), ACCESS_SECONDS)


async def version(store: Store) -> bytes:
    """Changes with every revocation. Raises StoreDown."""
    return await store.get(VERSION) or b""


async def snapshot(store: Store) -> Revoked:
    """All that can still concern an access token. Raises StoreDown."""
    found = await store.scan(f"{PREFIX}short/")
    return Revoked({key.removeprefix(f"{PREFIX}short/"): float(value) for key, value in found.items()})
