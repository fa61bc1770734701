"""A worker's view of the keys that its supervisor fetches. Time is the test's own."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from extproc.policy.keys import key_sets
from extproc.policy.keys.key_sets import NEVER, KeySetSpec, KeySetUpdate, Name, ReplicatedKeySet, ReplicatedKeySets
from extproc.policy.keys.places import JwksLocation
from tests.issuing import jwk
from tests.policy.keys.test_remote_keys import settled

PLAN = KeySetSpec(JwksLocation("https://idp.example/jwks", "https://idp.example"), refresh=300, max_stale=1000)
OTHER = KeySetSpec(JwksLocation("https://new.example", "new"), refresh=300, max_stale=0)


class Worker:
    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[Name] = []
        self.keys = ReplicatedKeySets(self.asked.append, lambda: self.now)

    def using(self, *plans: KeySetSpec) -> list[ReplicatedKeySet]:
        sets = [self.keys.at(plan) for plan in plans]
        self.keys.use(plans)
        return sets

    def told(self, plan: KeySetSpec, *kids: str, asked: float = NEVER) -> None:
        jwks = json.dumps({"keys": [jwk(kid=kid) for kid in kids]}).encode() if kids else None
        self.keys.take(KeySetUpdate(plan.name, jwks, self.now if kids else NEVER, asked))


def run(test: Callable[[Worker], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(Worker()), 20)

    asyncio.run(bounded())


def kids(one: ReplicatedKeySet) -> set[str]:
    current = one.current()
    return {kid for kid in ("a", "b") if current is not None and current.knows(kid)}


def test_it_is_ready_when_all_sets_have_been_here() -> None:
    async def test(worker: Worker) -> None:
        assert worker.keys.ready()

    async def with_sets(worker: Worker) -> None:
        one, two = worker.using(PLAN, OTHER)
        worker.told(PLAN, "a")
        worker.told(OTHER)
        assert not worker.keys.ready() and (kids(one), two.current()) == ({"a"}, None)
        worker.told(OTHER, "b")
        assert worker.keys.ready() and kids(two) == {"b"}
        worker.now = 5000
        assert worker.keys.ready() and one.current() is None

    run(test)
    run(with_sets)


def test_news_may_come_before_the_configuration() -> None:
    async def test(worker: Worker) -> None:
        worker.told(PLAN, "a")
        worker.told(PLAN, "a", "b")
        worker.told(OTHER, "a")
        [one] = worker.using(PLAN)
        assert kids(one) == {"a", "b"} and worker.keys.ready()
        [late] = worker.using(OTHER)
        assert late.current() is None  # what nobody named was not kept

    run(test)


def test_old_keys_are_good_for_a_time() -> None:
    async def test(worker: Worker) -> None:
        [one] = worker.using(PLAN)
        worker.told(PLAN, "a")
        for worker.now, found in ((1299, {"a"}), (1300, set())):
            assert kids(one) == found
        worker.keys.take(KeySetUpdate(PLAN.name, b'{"keys": []}', 0, NEVER))  # a failed fetch: the same again
        assert one.current() is None

    run(test)


def test_a_key_that_is_gone_is_gone() -> None:
    async def test(worker: Worker) -> None:
        [one] = worker.using(PLAN)
        worker.told(PLAN, "a")
        worker.now = 1
        worker.told(PLAN, "b")
        assert kids(one) == {"b"}

    run(test)


def test_the_supervisor_is_asked_once_for_all_calls() -> None:
    async def test(worker: Worker) -> None:
        [one] = worker.using(PLAN)
        worker.told(PLAN, "a")
        worker.now = 1
        waiting = [asyncio.create_task(one.refresh_keys()) for _ in range(50)]
        await settled()
        assert worker.asked == [PLAN.name] and not any(task.done() for task in waiting)
        worker.told(PLAN, "a", "b", asked=1)
        await asyncio.gather(*waiting)
        assert kids(one) == {"a", "b"}

    run(test)


def test_what_another_worker_has_asked_is_not_asked_again() -> None:
    async def test(worker: Worker) -> None:
        [one] = worker.using(PLAN)
        worker.told(PLAN, "a", asked=0)
        for worker.now in range(60):
            await one.refresh_keys()
        assert worker.asked == []
        worker.now = 60
        waiting = asyncio.create_task(one.refresh_keys())
        await settled()
        assert worker.asked == [PLAN.name]
        worker.told(PLAN, asked=60)  # it could not be fetched
        await waiting
        assert kids(one) == {"a"}

    run(test)


def test_a_call_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sets, "WAIT_SECONDS", 0.01)

    async def test(worker: Worker) -> None:
        [one] = worker.using(PLAN)
        await one.refresh_keys()
        await one.refresh_keys()
        assert worker.asked == [PLAN.name] and one.current() is None

    run(test)


def test_a_set_is_kept_when_its_plan_changes() -> None:
    async def test(worker: Worker) -> None:
        [one] = worker.using(PLAN)
        worker.told(PLAN, "a")
        shorter = msgspec.structs.replace(PLAN, refresh=10, max_stale=0)
        assert worker.using(shorter) == [one]
        worker.now = 11
        assert one.current() is None

    run(test)
