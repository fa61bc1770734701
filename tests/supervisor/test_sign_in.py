import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.policy.authentication.own_tokens import plan
from extproc.policy.authentication.revocations import Revocations, Revoked
from extproc.policy.keys.places import NotFetched
from extproc.sign_in import revoking
from extproc.store.embedded import EmbeddedStore
from extproc.supervisor.reload import Reloader
from extproc.supervisor.sign_in import SignInState
from tests.settings import ENVIRON, GATEWAY, source

SECTION = {"public_url": "https://llm.corp.example", "issuer": "https://idp.corp.example", "client_id": "x"}
SIGN_IN = f"{GATEWAY}\nsign_in: {json.dumps(SECTION)}\n"


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fits():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.02)


def running(state: SignInState, scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        task = asyncio.create_task(state.run())
        try:
            await scene()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(whole())


def test_revocations_are_sent_once_and_with_a_snapshot(tmp_path: Path) -> None:
    told: list[Revoked] = []
    state = SignInState(source(tmp_path, SIGN_IN), ENVIRON, told.append)
    state.use(source(tmp_path, SIGN_IN))

    async def scene() -> None:
        store = EmbeddedStore(tmp_path / "state")
        await revoking.end_subject(store, "alice", 1000.5)
        await until(lambda: len(told) == 1)
        await revoking.end_session(store, "s1", 1001.5)
        await until(lambda: len(told) == 2)
        await store.close()

    running(state, scene)
    assert [message.until for message in told] == [{"sub:alice": 1000.5}, {"sub:alice": 1000.5, "sid:s1": math.inf}]
    assert state.revoked == told[-1]


def test_what_is_revoked() -> None:
    known = Revocations()
    claims: dict[str, Any] = {"sub": "alice", "sid": "s1", "auth_time": 1000, "iat": 1500}
    revoked = known.check_of(claims)
    assert not revoked()
    for until_, void in (
        ({"sub:alice": 1000.0}, True),
        ({"sid:s1": 2000.0}, True),
        ({"sub:alice": 999.9}, False),
        ({}, False),
    ):
        known.replace(Revoked(until_))
        assert revoked() is void
    known.replace(Revoked({"sub:bob": 5000.0, "sid:s2": 5000.0}))
    assert not revoked()


def test_keys_come_from_the_store(tmp_path: Path) -> None:
    made = source(tmp_path, SIGN_IN)
    state, other = (SignInState(made, ENVIRON) for _ in range(2))
    for one in (state, other):
        one.use(made)
    place = plan(made.config).place

    async def scene() -> None:
        assert (await state.fetch(place))[0] == (await other.fetch(place))[0]

    asyncio.run(scene())


def test_without_the_section_there_are_none(tmp_path: Path) -> None:
    place = plan(source(tmp_path, SIGN_IN).config).place
    made = source(tmp_path, GATEWAY)
    state = SignInState(made, ENVIRON)
    state.use(made)
    with pytest.raises(NotFetched):
        asyncio.run(state.fetch(place))
    assert not (tmp_path / "state").exists()


def test_a_store_that_cannot_be_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file")
    made = source(tmp_path, SIGN_IN)
    state = SignInState(made, ENVIRON)
    state.use(made)
    with pytest.raises(NotFetched, match="store cannot be used"):
        asyncio.run(state.fetch(plan(made.config).place))
    running(state, lambda: until(lambda: "revocations of tokens wait for it" in caplog.text))


def test_the_web_process_gets_no_key_of_a_provider(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-of-a-provider")
    (tmp_path / "secret").write_text("s-of-the-sign-in")
    path = tmp_path / "gateway.yaml"
    section = SECTION | {"client_secret": {"file": "secret"}}
    path.write_text(GATEWAY.replace("{env: OPENAI_API_KEY}", "{file: key}") + f"\nsign_in: {json.dumps(section)}\n")
    reloader = Reloader(path, ENVIRON, None, asyncio.Event())
    for without, shown in ((False, True), (True, False)):
        greeting = reloader.greeting(without)
        assert (b"sk-of-a-provider" in greeting) is shown and b"s-of-the-sign-in" in greeting


def test_pages_wait_for_the_next_start_where_no_process_serves_them(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(GATEWAY)

    async def scene() -> Reloader:
        reloader = Reloader(path, ENVIRON, None, asyncio.Event())
        path.write_text(SIGN_IN)
        await reloader.reload()
        return reloader

    reloader = asyncio.run(scene())
    assert reloader.source.config.sign_in is None
    assert reloader.status.at_next_start == ["sign_in"]
