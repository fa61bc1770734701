"""Keeps the credentials of clouds fresh in the background, once for all workers, from one configuration to the next."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from extproc.policy.keys.key_sets import WAIT_SECONDS, Clock
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec, CredentialUpdate
from extproc.supervisor.clouds.http import Fetched

log = logging.getLogger("extproc")

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 30.0
EARLY_SECONDS = 300.0
"""A credential is renewed so long before its end, so that an outage of that length goes unnoticed."""
LEAST_SECONDS = 1.0
MOST_SECONDS = 3600.0
"""Between two fetches, however long a credential lasts: somebody may replace it where it comes from."""

Fetch = Callable[[CredentialSpec], Awaitable[Fetched]]
Tell = Callable[[CredentialUpdate], None]


async def fetch(spec: CredentialSpec) -> Fetched:
    """Raises NotFetched."""
    if spec.auth.aws is not None:
        from extproc.supervisor.clouds.aws import AwsCredentials

        return await AwsCredentials(spec, os.environ, time.time).fetch()
    if spec.auth.google is not None:
        from extproc.supervisor.clouds.google import GoogleCredentials

        return await GoogleCredentials(spec, time.time).fetch()
    from extproc.supervisor.clouds.azure import AzureCredentials

    return await AzureCredentials(spec, os.environ, time.time).fetch()


class KeptCredential:
    def __init__(self, spec: CredentialSpec, fetch: Fetch, clock: Clock, tell: Tell) -> None:
        self.spec = spec
        self._fetch = fetch
        self._clock = clock
        self._tell = tell
        self._found: Fetched | None = None
        self._failures = 0
        self.tried = asyncio.Event()

    def update(self) -> CredentialUpdate:
        if self._found is None:
            return CredentialUpdate(self.spec.name, None, 0.0)
        return CredentialUpdate(self.spec.name, self._found.credential, self._found.expires)

    async def keep_fresh(self) -> None:
        """Fetches again and again, until cancelled."""
        while True:
            await self._fetch_once()
            await asyncio.sleep(self.pause())

    def pause(self) -> float:
        """Returns the seconds until the next fetch."""
        if self._failures or self._found is None:
            retry: float = FIRST_RETRY_SECONDS * 2 ** min(max(self._failures - 1, 0), 10)
            return min(retry, LAST_RETRY_SECONDS)
        left = self._found.expires - self._clock()
        return min(max(left - EARLY_SECONDS, left / 2, LEAST_SECONDS), MOST_SECONDS)

    async def _fetch_once(self) -> None:
        try:
            found = await self._fetch(self.spec)
        except NotFetched as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try must come
            self._failed(type(error).__name__)
        else:
            if self._found is None or self._failures:
                log.info("provider %r: its credential is here", self.spec.provider)
            self._found, self._failures = found, 0
        finally:
            self.tried.set()
        self._tell(self.update())

    def _failed(self, problem: str) -> None:
        self._failures += 1
        if self._found is not None and self._clock() < self._found.expires:
            log.warning("provider %r: its credential cannot be renewed (%s); the one at hand stays in use",
                        self.spec.provider, problem)  # fmt: skip
        else:
            log.error("provider %r: its credential cannot be fetched (%s); its calls are refused until it is",
                      self.spec.provider, problem)  # fmt: skip


class KeptCredentials:
    """All credentials in use. Nothing is fetched before `use`."""

    def __init__(self, tell: Tell, fetch: Fetch = fetch, clock: Clock = time.time) -> None:
        """`tell`: sends an update to all workers."""
        self._tell = tell
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, tuple[KeptCredential, asyncio.Task[None]]] = {}

    def use(self, specs: Sequence[CredentialSpec]) -> None:
        """These and no others from now on."""
        wanted = {spec.name: spec for spec in specs}
        for gone in self._kept.keys() - wanted.keys():
            self._kept.pop(gone)[1].cancel()
        for name, spec in wanted.items():
            if name not in self._kept:
                kept = KeptCredential(spec, self._fetch, self._clock, self._tell)
                self._kept[name] = kept, asyncio.create_task(kept.keep_fresh())

    def updates(self) -> list[CredentialUpdate]:
        """Returns the state of each that has been asked for."""
        return [kept.update() for kept, _ in self._kept.values() if kept.tried.is_set()]

    async def first_fetches(self) -> None:
        """Returns when each has been asked for, or after WAIT_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                for kept, _ in self._kept.values():
                    await kept.tried.wait()
