"""Sets of keys that change while the configuration stays: what is common to those who fetch them (`remote_keys`, once
for all workers), and the sets of a worker, which is given them: it is sent each change, and asks when a token names a
key that is not there."""

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from extproc.policy.authentication.revocations import Revocations
from extproc.policy.keys import keys
from extproc.policy.keys.keys import Keys
from extproc.policy.keys.places import JwksLocation
from extproc.providers.cloud_credentials import SentCredentials

UNKNOWN_KEY_SECONDS = 60.0
"""Tokens can make us look for a new key once in this time."""
WAIT_SECONDS = 3.0
"""How long a call waits for that. Envoy gives it 5."""
NEVER = float("-inf")

Clock = Callable[[], float]
Name = tuple[str, str, bool]


class KeySetSpec(msgspec.Struct, frozen=True):
    """How a set is kept."""

    place: JwksLocation
    refresh: float
    """Seconds between two fetches at most; a server may ask for more frequent ones."""
    max_stale: float
    """Seconds for which keys are used that cannot be fetched again."""
    awaited: bool = True
    """A process is ready only when it has been fetched."""

    @property
    def name(self) -> Name:
        """By what a set is known again when everything else about it has changed."""
        return self.place.url, self.place.issuer, self.place.discovers


class KeySetUpdate(msgspec.Struct, tag=True):
    """How a set is, told after each fetch, good or bad."""

    name: Name
    jwks: bytes | None
    """JSON; None: it has never been fetched."""
    fetched: float
    """Unix seconds at which that was fetched."""
    asked: float
    """Unix seconds at which a token last caused a fetch."""


class KeySet(ABC):
    """The keys at one URL; a `keys.KeySource`."""

    def __init__(self, plan: KeySetSpec, clock: Clock) -> None:
        self.plan = plan
        self._clock = clock
        self._keys: Keys | None = None
        self._fetched = self._asked = NEVER

    def current(self) -> Keys | None:
        return self._keys if self._clock() < self._fetched + self.plan.refresh + self.plan.max_stale else None

    @abstractmethod
    async def refresh_keys(self) -> None:
        """At most one fetch a minute, whatever tokens name, and all calls wait for the same one."""

    def _may_ask(self) -> bool:
        return self._clock() >= self._asked + UNKNOWN_KEY_SECONDS


S = TypeVar("S", bound=KeySet)


class KeySets(ABC, Generic[S]):
    """All sets of one process. A gateway asks for those it needs; what no gateway uses any more is given up."""

    def __init__(self) -> None:
        self._sets: dict[Name, S] = {}
        self._coming: dict[Name, S] = {}
        self._ready = False
        self.revocations = Revocations()
        self.credentials = SentCredentials()
        """Credentials of clouds, which are fetched by the same process for all."""

    def at(self, plan: KeySetSpec) -> S:
        """This issuer's set at this URL: the one in use, keys and all, else one that will be."""
        found = self._sets.get(plan.name) or self._coming.get(plan.name)
        if found is None:
            found = self._coming[plan.name] = self._new(plan)
        return found

    def use(self, plans: Sequence[KeySetSpec]) -> None:
        """These sets and no others from now on."""
        self._sets, self._coming = {plan.name: self.at(plan) for plan in plans}, {}
        for plan in plans:
            self._sets[plan.name].plan = plan

    def ready(self) -> bool:
        """Every set in use has been fetched, once; what happens to a running gateway later concerns single issuers."""
        self._ready = self._ready or all(one.current() is not None for one in self._sets.values() if one.plan.awaited)
        return self._ready

    @abstractmethod
    def _new(self, plan: KeySetSpec) -> S: ...


Ask = Callable[[Name], None]


class ReplicatedKeySet(KeySet):
    def __init__(self, plan: KeySetSpec, ask: Ask, clock: Clock) -> None:
        super().__init__(plan, clock)
        self._ask = ask
        self._answer: asyncio.Event | None = None

    async def refresh_keys(self) -> None:
        if self._answer is None:
            if not self._may_ask():
                return
            self._answer = asyncio.Event()
            self._ask(self.plan.name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self._answer.wait()

    def take(self, news: KeySetUpdate) -> None:
        if news.jwks is not None and news.fetched != self._fetched:
            self._keys, _ = keys.parse(json.loads(news.jwks))
            self._fetched = news.fetched
        self._asked = news.asked
        if self._answer is not None:
            self._answer.set()
            self._answer = None


class ReplicatedKeySets(KeySets[ReplicatedKeySet]):
    """`ask`: says that the set of this name may be out of date; news of it will follow."""

    def __init__(self, ask: Ask, clock: Clock = time.time) -> None:
        super().__init__()
        self._ask = ask
        self._clock = clock
        self._news: dict[Name, KeySetUpdate] = {}

    def take(self, news: KeySetUpdate) -> None:
        """Also of a set that only the next configuration names."""
        self._news[news.name] = news
        if (found := self._sets.get(news.name)) is not None:
            found.take(news)

    def use(self, plans: Sequence[KeySetSpec]) -> None:
        super().use(plans)
        self._news = {name: news for name, news in self._news.items() if name in self._sets}

    def _new(self, plan: KeySetSpec) -> ReplicatedKeySet:
        made = ReplicatedKeySet(plan, self._ask, self._clock)
        if (news := self._news.get(plan.name)) is not None:
            made.take(news)
        return made
