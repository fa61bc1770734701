"""An issuer's keys, fetched when a token needs them: for issuers whose tokens come seldom, and whose being down must
hold up nothing else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from extproc.policy.keys import fetch, keys
from extproc.policy.keys.keys import Keys
from extproc.policy.keys.places import JwksLocation, NotFetched

REFRESH_SECONDS = 3600.0
RETRY_SECONDS = 30.0
"""Tokens with unknown keys can cause one fetch in this time."""
PAUSE_SECONDS = 1.0
"""The same where there are no keys yet, after a fetch that failed: whoever has waited for it does not wait again."""
Fetch = Callable[[JwksLocation], Awaitable[tuple[Any, float | None]]]


class OnDemandKeys:
    """A `keys.KeySource`. Call `refresh` before use."""

    def __init__(
        self, place: JwksLocation, fetch_set: Fetch = fetch.fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._place = place
        self._fetch = fetch_set
        self._clock = clock
        self._keys: Keys | None = None
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self.problem = ""
        """Why the last fetch failed; empty if it did not."""

    def current(self) -> Keys | None:
        return self._keys

    async def refresh(self) -> None:
        """Fetches the keys if they are not there or old. Old ones stay where that fails."""
        if self._clock() - self._fetched > REFRESH_SECONDS:
            await self.refresh_keys()

    async def refresh_keys(self) -> None:
        async with self._lock:
            pause = PAUSE_SECONDS if self._keys is None else RETRY_SECONDS
            if self._clock() - self._tried < pause:
                return
            begun = self._clock()
            try:
                raw, _ = await self._fetch(self._place)
                self._keys, _ = keys.parse(raw)
            except (NotFetched, keys.NoKeySet) as error:
                self.problem = str(error)
            else:
                self._fetched, self.problem = begun, ""
            self._tried = self._clock()
