"""Key sets that are fetched: kept fresh in the background, and kept from one configuration to the next."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from extproc.policy import keys
from extproc.policy.keys import Keys
from extproc.policy.places import NotFetched, Place

log = logging.getLogger("extproc")

MIN_REFRESH_SECONDS = 10.0
"""Whatever a Cache-Control says; a shorter `refresh` in the configuration is followed."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 30.0
UNKNOWN_KEY_SECONDS = 60.0
"""Tokens can make us look for a new key once in this time."""
WAIT_SECONDS = 3.0
"""How long a call waits for that. Envoy gives it 5."""

Fetch = Callable[[Place], Awaitable[tuple[Any, float | None]]]
Clock = Callable[[], float]


async def _over_http(place: Place) -> tuple[Any, float | None]:
    from extproc.policy.fetch import fetch

    return await fetch(place)


class Plan(msgspec.Struct, frozen=True):
    """How a set is kept."""

    place: Place
    refresh: float
    """Seconds between two fetches at most; a server may ask for more frequent ones."""
    max_stale: float
    """Seconds for which keys are used that cannot be fetched again."""


_Name = tuple[str, str, bool]


def _name(plan: Plan) -> _Name:
    """By what a set is known again when everything else about it has changed."""
    return plan.place.url, plan.place.issuer, plan.place.discovers


class RemoteSet:
    """The keys at one URL."""

    def __init__(self, plan: Plan, fetch: Fetch, clock: Clock) -> None:
        self.plan = plan
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys | None = None
        self._fetched = self._asked = float("-inf")
        self._max_age: float | None = None
        self._failures = 0
        self._complaint = ""
        self._fetching: asyncio.Task[None] | None = None
        self.tried = asyncio.Event()

    def current(self) -> Keys | None:
        return self._keys if self._clock() < self._fetched + self.plan.refresh + self.plan.max_stale else None

    async def newer(self) -> None:
        """At most one fetch a minute, whatever tokens name, and all calls wait for the same one."""
        if self._fetching is None and self._clock() >= self._asked + UNKNOWN_KEY_SECONDS:
            self._asked = self._clock()
            self._begin()
        if self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=WAIT_SECONDS)

    async def keep_fresh(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.wait({self._fetching or self._begin()})
            await asyncio.sleep(self.pause())

    def pause(self) -> float:
        """Seconds until the next fetch."""
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
        except (NotFetched, keys.NoKeySet) as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try must come
            self._failed(type(error).__name__)
        else:
            self._succeeded(found, problems)
        finally:
            self._fetching = None
            self.tried.set()

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


class RemoteKeys:
    """All sets of one worker. A gateway asks for the sets it needs; what no gateway uses any more is given up."""

    def __init__(self, fetch: Fetch = _over_http, clock: Clock = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._sets: dict[_Name, RemoteSet] = {}
        self._told = asyncio.Event()
        self._ready = False

    def at(self, plan: Plan) -> RemoteSet:
        """This issuer's set at this URL: the one in use, keys and all, else a new one. Nothing is fetched before
        `use`."""
        return self._sets.get(_name(plan)) or RemoteSet(plan, self._fetch, self._clock)

    def use(self, sets: Iterable[tuple[RemoteSet, Plan]]) -> None:
        """These and no others from now on."""
        self._sets = {}
        for found, plan in sets:
            found.plan = plan
            self._sets[_name(plan)] = found
        self._told.set()

    def ready(self) -> bool:
        """Every set in use has been fetched, once; what happens to a running gateway later concerns single issuers."""
        self._ready = self._ready or all(one.current() is not None for one in self._sets.values())
        return self._ready

    async def first_fetches(self) -> None:
        """Returns when no set in use is still to be fetched for the first time, or after WAIT_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                for one in self._sets.values():
                    await one.tried.wait()

    async def run(self) -> None:
        """Keeps all sets fresh until cancelled."""
        tasks: dict[tuple[int, Plan], asyncio.Task[None]] = {}
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
