"""What the supervisor does for the sign-in: it reads the gateway's own keys and the revocations from the store, and
sends both to workers and web, which need no store to decide about a call."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from extproc.config.loading import Source
from extproc.policy.authentication.own_tokens import IN_THE_STORE
from extproc.policy.authentication.revocations import Revoked
from extproc.policy.keys.places import JwksLocation, NotFetched
from extproc.sign_in import configuration, revoking
from extproc.sign_in.signing_keys import SigningKeys
from extproc.store.interface import Store, StoreDown
from extproc.store.opening import open_store

log = logging.getLogger("extproc")

LOOK_SECONDS = 1.0
WHOLE_LOOK_SECONDS = 60.0
"""A snapshot is read again after so long, so that revocations that no longer matter leave the workers."""


class SignInState:
    def __init__(
        self, source: Source, environ: Mapping[str, str], tell: Callable[[Revoked], None] = lambda _: None
    ) -> None:
        """`tell`: sends a snapshot to all processes."""
        self._environ = environ
        self._at_start = source
        self._tell = tell
        self._store: Store | None = None
        self._settings: configuration.Configuration | None = None
        self._keys: SigningKeys | None = None
        self.revoked = Revoked({})

    def use(self, source: Source) -> None:
        """Takes a configuration that is in force now."""
        self._settings = configuration.load(source, self._environ, [])
        self._keys = None

    async def fetch(self, place: JwksLocation) -> tuple[Any, float | None]:
        """The gateway's own keys, or those at a URL. Raises NotFetched."""
        if place.url != IN_THE_STORE:
            from extproc.policy.keys.fetch import fetch

            return await fetch(place)
        if self._settings is None:
            raise NotFetched("there is no sign_in")
        try:
            if self._keys is None:
                self._keys = SigningKeys(self._opened(), self._settings.signing_key)
            return await self._keys.jwks(), None
        except StoreDown as error:
            raise NotFetched(f"the store cannot be used: {error}") from None

    async def run(self) -> None:
        """Looks for revocations until cancelled."""
        known, looked, down = b"", 0.0, False
        while True:
            try:
                if self._settings is not None:
                    store = self._opened()
                    version = await revoking.version(store)
                    if version != known or time.monotonic() - looked > WHOLE_LOOK_SECONDS:
                        revoked = await revoking.snapshot(store)
                        known, looked = version, time.monotonic()
                        if revoked.until != self.revoked.until:
                            self.revoked = revoked
                            self._tell(revoked)
                down = False
            except StoreDown as error:
                if not down:
                    log.error("the store cannot be used: %s; revocations of tokens wait for it", error)
                down = True
            await asyncio.sleep(LOOK_SECONDS)

    def _opened(self) -> Store:
        """Raises StoreDown."""
        if self._store is None:
            self._store = open_store(self._at_start, self._environ)
        return self._store
