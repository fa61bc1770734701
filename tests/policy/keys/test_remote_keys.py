"""Time is the test's own here, and so is what a fetch brings."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.policy.keys import remote_keys
from extproc.policy.keys.key_sets import NEVER, KeySet, KeySetSpec, KeySetUpdate
from extproc.policy.keys.places import JwksLocation, NotFetched
from extproc.policy.keys.remote_keys import FetchedKeySet, FetchedKeySets
from tests.issuing import jwk

PLACE = JwksLocation("https://idp.example/jwks", "https://idp.example")
PLAN = KeySetSpec(PLACE, refresh=300, max_stale=1000)


class Idp:
    """Answers what it is told; an exception is raised."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.answer: Any = {"keys": [jwk()]}
        self.max_age: float | None = None
        self.told: list[KeySetUpdate] = []
        self.arrived = asyncio.Condition()
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, place: JwksLocation) -> tuple[Any, float | None]:
        self.asked += 1
        async with self.arrived:
            self.arrived.notify_all()
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, self.max_age

    async def until_asked(self, times: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.asked >= times)

    def remote(self, *plans: KeySetSpec) -> tuple[FetchedKeySets, list[FetchedKeySet]]:
        made = FetchedKeySets(self.fetch, lambda: self.now, self.told.append)
        made.use(plans or (PLAN,))
        return made, [made.at(plan) for plan in plans or (PLAN,)]


def run(test: Callable[[Idp], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(Idp()), 20)

    asyncio.run(bounded())


async def settled() -> None:
    """Until all that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


def has(one: KeySet, kid: str) -> bool:
    current = one.current()
    return current is not None and current.knows(kid)


def test_nothing_is_ready_before_it_is_there() -> None:
    async def test(idp: Idp) -> None:
        remote, (one,) = idp.remote()
        idp.open.clear()
        running = asyncio.create_task(remote.run())
        await settled()
        assert idp.asked == 1 and not remote.ready() and one.current() is None
        idp.open.set()
        await settled()
        assert remote.ready() and has(one, "EC-1")
        running.cancel()

    run(test)


def test_without_remote_keys_all_is_ready() -> None:
    async def test(idp: Idp) -> None:
        assert FetchedKeySets(idp.fetch).ready()

    run(test)


def test_it_recovers_by_itself(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(remote_keys, "FIRST_RETRY_SECONDS", 0.001)

    async def test(idp: Idp) -> None:
        remote, _ = idp.remote()
        idp.answer = NotFetched("Connection refused")
        running = asyncio.create_task(remote.run())
        await idp.until_asked(3)
        assert not remote.ready()
        idp.answer = {"keys": [jwk()]}
        await idp.until_asked(idp.asked + 1)
        await settled()
        assert remote.ready()
        running.cancel()

    with caplog.at_level(logging.INFO, "extproc"):
        run(test)
    assert "issuer 'https://idp.example': its keys cannot be fetched (Connection refused)" in caplog.messages[0]
    assert "its tokens are refused until they are" in caplog.messages[0]
    assert caplog.messages[-1] == "issuer 'https://idp.example': its keys are here, 1 in number"


@pytest.mark.parametrize("answer", [NotFetched("x"), RuntimeError("a bug"), [], {"keys": 7}], ids=repr)
def test_a_fetch_that_fails_keeps_the_old_keys_for_a_time(answer: Any) -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        await one.refresh_keys()
        idp.answer, idp.now = answer, 300
        await one.refresh_keys()
        assert idp.asked == 2 and has(one, "EC-1")
        idp.now = 1299
        assert has(one, "EC-1")
        idp.now = 1300
        assert one.current() is None

    run(test)


def test_a_running_gateway_stays_ready() -> None:
    async def test(idp: Idp) -> None:
        remote, (one,) = idp.remote()
        await one.refresh_keys()
        assert remote.ready()
        idp.now = 10_000
        assert one.current() is None and remote.ready()
        other = KeySetSpec(JwksLocation("https://new.example", "new"), 300, 0)
        remote.use([other])
        assert remote.ready()

    run(test)


def test_keys_that_are_gone_are_gone() -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        await one.refresh_keys()
        idp.answer, idp.now = {"keys": [jwk(kid="EC-2")]}, 60
        await one.refresh_keys()
        assert has(one, "EC-2") and not has(one, "EC-1")

    run(test)


def test_a_set_without_keys_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        await one.refresh_keys()
        idp.answer, idp.now = {"keys": []}, 60
        await one.refresh_keys()
        assert one.current() is not None and not has(one, "EC-1")

    run(test)
    assert caplog.messages == [
        "issuer 'https://idp.example': not all of its keys can be used: there is none for signatures"
    ]


def test_random_kids_cause_one_fetch_a_minute() -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        for second in range(600):
            idp.now = second
            await asyncio.gather(*(one.refresh_keys() for _ in range(5)))
        assert idp.asked == 10

    run(test)


def test_all_calls_wait_for_one_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        idp.open.clear()
        waiting = [asyncio.create_task(one.refresh_keys()) for _ in range(50)]
        await settled()
        assert idp.asked == 1 and not any(task.done() for task in waiting)
        idp.open.set()
        await asyncio.gather(*waiting)
        assert idp.asked == 1 and has(one, "EC-1")

    run(test)


def test_calls_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_keys, "WAIT_SECONDS", 0.01)

    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        idp.open.clear()
        await one.refresh_keys()
        assert one.current() is None
        idp.open.set()
        await settled()
        assert has(one, "EC-1")  # the fetch went on

    run(test)


@pytest.mark.parametrize(
    ("max_age", "refresh", "pause"),
    [(None, 300, 300), (60, 300, 60), (0, 300, 10), (3600, 300, 300), (0, 2, 2), (9, 300, 10)],
)
def test_when_to_look_again(max_age: float | None, refresh: float, pause: float) -> None:
    async def test(idp: Idp) -> None:
        idp.max_age = max_age
        _, (one,) = idp.remote(KeySetSpec(PLACE, refresh, 0))
        await one.refresh_keys()
        assert one.pause() == pause

    run(test)


def test_when_to_try_again() -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        idp.answer = NotFetched("x")
        pauses = []
        for minute in range(7):
            idp.now = 60.0 * minute
            await one.refresh_keys()
            pauses.append(one.pause())
        assert pauses == [1, 2, 4, 8, 16, 30, 30]

    run(test)


def test_sets_come_and_go_with_the_configuration() -> None:
    async def test(idp: Idp) -> None:
        remote, (one,) = idp.remote()
        running = asyncio.create_task(remote.run())
        await settled()
        shorter, other = KeySetSpec(PLACE, 60, 0), KeySetSpec(JwksLocation("https://new.example", "new"), 300, 0)
        assert remote.at(shorter) is one
        remote.use([shorter, other])
        await settled()
        assert idp.asked == 3 and one.plan is shorter and one.current() is not None
        assert remote.at(other).current() is not None
        remote.use([])
        await settled()
        assert remote.at(shorter) is not one
        running.cancel()

    run(test)


def test_what_is_new_is_waited_for_whatever_comes_of_it() -> None:
    async def test(idp: Idp) -> None:
        remote, (one,) = idp.remote()
        running = asyncio.create_task(remote.run())
        await remote.first_fetches()
        assert has(one, "EC-1")
        other = KeySetSpec(JwksLocation("https://new.example", "new"), 300, 0)
        idp.answer = NotFetched("x")
        remote.use([PLAN, other])
        await remote.first_fetches()
        assert idp.asked == 2 and remote.at(other).current() is None
        running.cancel()

    run(test)


def test_what_is_new_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_keys, "WAIT_SECONDS", 0.01)

    async def test(idp: Idp) -> None:
        remote, (one,) = idp.remote()
        idp.open.clear()
        running = asyncio.create_task(remote.run())
        await remote.first_fetches()
        assert not one.tried.is_set()
        running.cancel()

    run(test)


def test_what_cannot_be_used_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test(idp: Idp) -> None:
        _, (one,) = idp.remote()
        idp.answer = {"keys": [jwk(), {"kty": "oct", "k": "c2VjcmV0"}]}
        for minute in range(3):
            idp.now = 60.0 * minute
            await one.refresh_keys()
        assert has(one, "EC-1")

    with caplog.at_level(logging.WARNING, "extproc"):
        run(test)
    assert len(caplog.messages) == 1 and "keys.1: expected a public key" in caplog.text
    assert "c2VjcmV0" not in caplog.text


def test_issuers_at_one_url_are_kept_apart(tmp_path: Path) -> None:
    async def test(idp: Idp) -> None:
        other = KeySetSpec(JwksLocation(PLACE.url, "https://other.example"), 300, 0)
        _, (one, two) = idp.remote(PLAN, other)
        assert one is not two

    run(test)


def test_whoever_listens_is_told_after_each_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(idp: Idp) -> None:
        remote, (one,) = idp.remote()
        assert [(news.jwks, news.fetched) for news in remote.news()] == [(None, NEVER)]
        await one.refresh_keys()
        idp.answer, idp.now = NotFetched("x"), 60
        await one.refresh_keys()
        jwks = json.dumps({"keys": [jwk()]}).encode()
        assert idp.told == [KeySetUpdate(PLAN.name, jwks, 0, 0), KeySetUpdate(PLAN.name, jwks, 0, 60)]
        assert remote.news() == idp.told[-1:]

    run(test)


def test_whoever_wants_a_key_hears_soon() -> None:
    """Of the fetch that begins or runs, or at once where none is due."""

    async def test(idp: Idp) -> None:
        remote, _ = idp.remote()
        idp.open.clear()
        for _ in range(3):
            remote.wanted(PLAN.name)
        await settled()
        assert (idp.asked, len(idp.told)) == (1, 0)
        idp.open.set()
        await settled()
        assert (idp.asked, len(idp.told)) == (1, 1)
        remote.wanted(PLAN.name)
        assert (idp.asked, len(idp.told)) == (1, 2)
        remote.wanted(("https://nobody.example", "", False))
        assert len(idp.told) == 2

    run(test)
