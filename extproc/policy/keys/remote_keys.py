"""Key sets that are fetched: kept fresh in the background, and kept from one configuration to the next."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from extproc.policy.keys import keys
from extproc.policy.keys.key_sets import WAIT_SECONDS, Clock, KeySet, KeySets, KeySetSpec, KeySetUpdate, Name
from extproc.policy.keys.keys import Keys
from extproc.policy.keys.places import JwksLocation, NotFetched

log = logging.getLogger("extproc")

MIN_REFRESH_SECONDS = 10.0
"""Whatever a Cache-Control says; a shorter `refresh` in the configuration is followed."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 30.0

Fetch = Callable[[JwksLocation], Awaitable[tuple[Any, float | None]]]
Tell = Callable[[KeySetUpdate], None]


async def _over_http(place: JwksLocation) -> tuple[Any, float | None]:
    from extproc.policy.keys.fetch import fetch

    return await fetch(place)


def _to_nobody(news: KeySetUpdate) -> None:
    """Does nothing; for a process without workers."""


class FetchedKeySet(KeySet):
    def __init__(self, plan: KeySetSpec, fetch: Fetch, clock: Clock, tell: Tell) -> None:
        super().__init__(plan, clock)
        self._fetch = fetch
        self._tell = tell
        self._jwks: bytes | None = None
        self._max_age: float | None = None
        self._failures = 0
        self._complaint = ""
        self._fetching: asyncio.Task[None] | None = None
        self.tried = asyncio.Event()

    def news(self) -> KeySetUpdate:
        return KeySetUpdate(self.plan.name, self._jwks, self._fetched, self._asked)

    async def refresh_keys(self) -> None:
        if (fetching := self._running_fetch()) is not None:
            await asyncio.wait({fetching}, timeout=WAIT_SECONDS)

    def wanted(self) -> None:
        """Fetches again, if it may, because a worker met an unknown key. The result is sent to the workers in any
        case."""
        if self._running_fetch() is None:
            self._tell(self.news())

    def _running_fetch(self) -> asyncio.Task[None] | None:
        """Returns the fetch in progress, and starts one if none is; None if none may be started now."""
        if self._fetching is None and self._may_ask():
            self._asked = self._clock()
            self._begin()
        return self._fetching

    async def keep_fresh(self) -> None:
        """Fetches the keys again and again, until cancelled."""
        while True:
            await asyncio.wait({self._fetching or self._begin()})
            await asyncio.sleep(self.pause())

    def pause(self) -> float:
        """Returns the seconds until the next fetch."""
        if self._failures:
            retry: float = min(FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 10), LAST_RETRY_SECONDS)
            return min(retry, self.plan.refresh)
        if self._max_age is None:
            return self.plan.refresh
        return min(max(self._max_age, MIN_REFRESH_SECONDS), self.plan.refresh)

    def _begin(self) -> asyncio.Task[None]:
        self._fetching = asyncio.create_task(self._fetch_once())
        return self._fetching

    async def _fetch_once(self) -> None:
        try:
            raw, self._max_age = await self._fetch(self.plan.place)
            found, problems = keys.parse(raw)
            jwks = json.dumps(raw).encode()
        except (NotFetched, keys.NoKeySet) as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try must come
            self._failed(type(error).__name__)
        else:
            self._jwks = jwks
            self._succeeded(found, problems)
        finally:
            self._fetching = None
            self.tried.set()
            self._tell(self.news())

    def _failed(self, problem: str) -> None:
        self._failures += 1
        issuer = self.plan.place.issuer
        if self.current() is None:
            log.error("issuer %r: its keys cannot be fetched (%s); its tokens are refused until they are",
                      issuer, problem)  # fmt: skip
        else:
            log.warning("issuer %r: its keys cannot be fetched (%s); the ones at hand stay in use", issuer, problem)

    def _succeeded(self, found: Keys, problems: list[str]) -> None:
        if self._keys is None or self._failures:
            log.info("issuer %r: its keys are here, %d in number", self.plan.place.issuer, len(found))
        complaint = "; ".join(problems or ([] if found else ["there is none for signatures"]))
        if complaint and complaint != self._complaint:
            log.warning("issuer %r: not all of its keys can be used: %s", self.plan.place.issuer, complaint)
        self._keys, self._fetched, self._failures, self._complaint = found, self._clock(), 0, complaint


class FetchedKeySets(KeySets[FetchedKeySet]):
    """Nothing is fetched before `use` and `run`."""

    def __init__(self, fetch: Fetch = _over_http, clock: Clock = time.time, tell: Tell = _to_nobody) -> None:
        super().__init__()
        self._fetch = fetch
        self._clock = clock
        self._tell = tell
        self._told = asyncio.Event()

    def _new(self, plan: KeySetSpec) -> FetchedKeySet:
        return FetchedKeySet(plan, self._fetch, self._clock, self._tell)

    def use(self, plans: Sequence[KeySetSpec]) -> None:
        super().use(plans)
        self._told.set()

    def news(self) -> list[KeySetUpdate]:
        """Returns the state of each set in use."""
        return [one.news() for one in self._sets.values()]

    def wanted(self, name: Name) -> None:
        """Passes a worker's request for a set on to it."""
        if (found := self._sets.get(name)) is not None:
            found.wanted()

    async def first_fetches(self) -> None:
        """Returns when no set in use is still to be fetched for the first time, or after WAIT_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                for one in self._sets.values():
                    await one.tried.wait()

    async def run(self) -> None:
        """Keeps all sets fresh until cancelled."""
        tasks: dict[tuple[int, KeySetSpec], asyncio.Task[None]] = {}
        try:
            while True:
                self._told.clear()
                wanted = {(id(one), one.plan): one for one in self._sets.values()}
                for gone in tasks.keys() - wanted.keys():
                    tasks.pop(gone).cancel()
                for new in wanted.keys() - tasks.keys():
                    tasks[new] = asyncio.create_task(wanted[new].keep_fresh())
                await self._told.wait()
        finally:
            for task in tasks.values():
                task.cancel()
