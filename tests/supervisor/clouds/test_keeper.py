"""Time is the test's own here, and so is what a fetch brings."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from extproc.config.schema_clouds import Aws, CloudAuth
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec, CredentialUpdate, bearer
from extproc.supervisor.clouds.http import Fetched
from extproc.supervisor.clouds.keeper import KeptCredential, KeptCredentials

AUTH = CloudAuth(aws=Aws(instance=True))


def spec(name: str = "n") -> CredentialSpec:
    return CredentialSpec("bedrock", name, AUTH, "eu-central-1", "", {}, dict[str, Path](), None)


class Issuer:
    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.answer: Fetched | Exception = Fetched(bearer("a"), 1000.0 + 3600)
        self.told: list[CredentialUpdate] = []

    async def fetch(self, _spec: CredentialSpec) -> Fetched:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def kept(self) -> KeptCredential:
        return KeptCredential(spec(), self.fetch, lambda: self.now, self.told.append)


def run(test: Callable[[Issuer], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(Issuer()), 20)

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("lasts", "pause"), [(3600, 3300), (600, 300), (400, 200), (4, 2), (1, 1), (0, 1), (10**9, 3600)]
)
def test_a_credential_is_renewed_before_its_end(lasts: float, pause: float) -> None:
    async def test(issuer: Issuer) -> None:
        issuer.answer = Fetched(bearer("a"), issuer.now + lasts)
        kept = issuer.kept()
        await first_fetch(kept)
        assert kept.pause() == pause

    run(test)


async def first_fetch(kept: KeptCredential) -> None:
    task = asyncio.create_task(kept.keep_fresh())
    await kept.tried.wait()
    await asyncio.sleep(0)
    task.cancel()


def test_failures_are_tried_again_soon_and_ever_less_often(caplog: pytest.LogCaptureFixture) -> None:
    async def test(issuer: Issuer) -> None:
        kept = issuer.kept()
        await first_fetch(kept)
        issuer.answer = NotFetched("status 503")
        pauses = []
        for _ in range(7):
            await first_fetch(kept)
            pauses.append(kept.pause())
        assert pauses == [1, 2, 4, 8, 16, 30, 30]
        assert kept.update() == CredentialUpdate("n", bearer("a"), 4600.0)
        assert "the one at hand stays in use" in caplog.text and "refused" not in caplog.text
        issuer.now = 5000.0
        await first_fetch(kept)
        assert "its calls are refused until it is" in caplog.text

    run(test)


def test_what_an_exception_says_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test(issuer: Issuer) -> None:
        issuer.answer = RuntimeError("a secret")
        await first_fetch(issuer.kept())
        assert "RuntimeError" in caplog.text and "a secret" not in caplog.text

    run(test)


def test_one_that_is_no_longer_used_is_not_renewed() -> None:
    async def test(issuer: Issuer) -> None:
        kept = KeptCredentials(issuer.told.append, issuer.fetch, lambda: issuer.now)
        kept.use([spec("a"), spec("b")])
        await kept.first_fetches()
        assert [one.name for one in kept.updates()] == ["a", "b"] and issuer.asked == 2
        kept.use([spec("b"), spec("c")])
        await kept.first_fetches()
        assert [one.name for one in kept.updates()] == ["b", "c"] and issuer.asked == 3
        kept.use([])
        assert kept.updates() == []

    run(test)
