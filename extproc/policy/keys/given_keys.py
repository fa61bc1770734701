"""Key sets of a worker: its supervisor fetches them for all workers, tells each of them the news, and is asked when a
token names a key that is not there."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence

from extproc.policy.keys import keys
from extproc.policy.keys.key_sets import WAIT_SECONDS, Clock, KeySet, KeySets, KeySetSpec, KeySetUpdate, Name

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
