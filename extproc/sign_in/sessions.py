"""Sessions: pairs of an access token of the gateway's own and a sealed refresh token, from sign-in to revocation.

Nothing is kept of a session but what must be known about its end. The refresh token holds the identity provider's,
sealed, so that each refresh asks the provider whether this person may still come in.
"""

import asyncio
import contextlib
import hashlib
import logging
import math
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.proof import Trusted, prove
from extproc.sign_in import revoking
from extproc.sign_in.configuration import Configuration
from extproc.sign_in.provider import Identity, Provider
from extproc.sign_in.refusals import Refusal
from extproc.sign_in.sealing import KEY_BYTES, NotSealed, Seal
from extproc.sign_in.signing_keys import SigningKeys
from extproc.store.interface import Store, StoreDown

log = logging.getLogger("extproc")

REUSE_SECONDS = 60.0
"""In this time the same refresh token gets the same answer: two processes of one person refresh at once, and a provider
that watches for reuse would end the session of both."""
SESSION_SECONDS = 90 * 86400.0
"""A refresh token that is not used for so long is void, whatever the provider says."""
WAIT_SECONDS, LOOK_SECONDS = 20.0, 0.1
_SEALING_KEY = "sign-in/sealing-key"
_FOR_EVER = 10 * 365 * 86400.0
_REFRESH, _ANSWER = "refresh", "answer"
_OVER = "this sign-in is over; sign in again"
Answer = dict[str, Any]


class Grant(msgspec.Struct, frozen=True):
    """What a refresh token holds."""

    session: str
    began: float
    """Unix seconds of the sign-in."""
    renewed: float
    """Unix seconds at which this token was issued."""
    claims: dict[str, Any]
    """Those of the id_token that access tokens carry on."""
    provider_token: str


class Sessions:
    def __init__(  # noqa: PLR0913, PLR0917 - each once, by `web.sign_in`
        self,
        configuration: Configuration,
        store: Store,
        provider: Provider,
        keys: SigningKeys,
        max_token_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._store = store
        self._provider = provider
        self._keys = keys
        self._max_token_bytes = max_token_bytes
        self._clock = clock
        self._seal: Seal | None = None

    async def seal(self) -> Seal:
        """By the configured key, or by one that all processes share through the store. Raises StoreDown."""
        if self._seal is None:
            key = self._configuration.sealing_key
            while key is None:
                made = os.urandom(KEY_BYTES)
                added = await self._store.add(_SEALING_KEY, made, _FOR_EVER)
                key = made if added else await self._store.get(_SEALING_KEY)
            self._seal = Seal(key)
        return self._seal

    def admit(self, claims: dict[str, Any]) -> dict[str, Any]:
        """The claims that access tokens carry on, of a person who may sign in. Raises Refusal."""
        if "groups" in self._settings.claims and _has_overage(claims):
            text = "your account is in more groups than the login can name; its administrator can limit the groups that"
            text += " it sends to this gateway to those assigned to the application"
            raise Refusal("access_denied", text, status=403, reason="groups overage: the id_token only links to them")
        if not self._configuration.allows(claims):
            text = "your account may not use this gateway; ask whoever runs it for access"
            raise Refusal("access_denied", text, status=403, reason="no rule of sign_in.allow holds")
        return {name: claims[name] for name in ("sub", *self._settings.claims) if name in claims}

    async def check(self, identity: Identity) -> None:
        """Raises Refusal where `begin` would, StoreDown."""
        assert identity.claims is not None
        await self._access_token(Grant("", 0, 0, self.admit(identity.claims), ""))

    async def begin(self, identity: Identity) -> Answer:
        """The token endpoint's answer to a new sign-in. Raises Refusal, StoreDown."""
        assert identity.claims is not None
        now = self._clock()
        session = secrets.token_urlsafe(16)
        grant = Grant(session, now, now, self.admit(identity.claims), identity.refresh_token or "")
        log.info("sign-in: %r signed in, session %s", grant.claims["sub"], session)
        return await self._answer(grant)

    async def refresh(self, text: str) -> Answer:
        """The answer to a refresh grant. Raises Refusal, StoreDown."""
        grant = await self._grant(text)
        entry = hashlib.sha256(text.encode()).hexdigest()
        deadline = self._clock() + WAIT_SECONDS
        while (known := await self._known(entry, grant)) is None:
            if await self._store.add(f"sign-in/refreshing/{entry}", b"", WAIT_SECONDS):
                try:
                    # Another process may have finished between the look and the lock.
                    return await self._known(entry, grant) or await self._refresh(grant, entry)
                finally:
                    with contextlib.suppress(StoreDown):  # it ends by itself
                        await self._store.take(f"sign-in/refreshing/{entry}")
            if self._clock() > deadline:
                raise Refusal("temporarily_unavailable", "another refresh takes too long; try again", status=503)
            await asyncio.sleep(LOOK_SECONDS)
        return known

    async def issue(self, claims: dict[str, Any], seconds: int) -> str:
        """An access token with these claims and the gateway's own. Raises Refusal, StoreDown."""
        now = int(self._clock())
        own = {"iss": self._settings.public_url, "aud": self._settings.public_url, "iat": now, "exp": now + seconds}
        token = await self._keys.sign({**claims, **own, "jti": secrets.token_urlsafe(12)})
        if len(token) > self._max_token_bytes:
            text = "your account has more groups than fit into a request; the gateway's operator can leave them out"
            reason = f"the access token has {len(token)} bytes, authentication.max_token_bytes is less"
            raise Refusal("access_denied", text, status=403, reason=reason)
        return token

    async def revoke(self, text: str, trusted: Trusted) -> None:
        """Ends the session of an access or refresh token. Anything else is ignored, as RFC 7009 has it. Raises
        StoreDown."""
        try:
            grant = await self._grant(text)
        except Refusal:
            try:
                proof = await prove(text, {trusted.settings.issuer: trusted}, self._clock())
            except Unproven:
                return
            if isinstance(session := proof.claims.get("sid"), str):
                await revoking.end_session(self._store, session, self._clock())
            return
        await revoking.end_session(self._store, grant.session, self._clock())
        if grant.provider_token:
            await self._provider.revoke(grant.provider_token)

    async def _grant(self, text: str) -> Grant:
        """What a refresh token holds, if its session has not ended. Raises Refusal, StoreDown."""
        try:
            opened = (await self.seal()).open(_REFRESH, text)
            grant = msgspec.convert(opened, Grant)
        except (NotSealed, msgspec.ValidationError):
            raise Refusal("invalid_grant", _OVER, status=401, reason="not a refresh token of this gateway") from None
        if self._clock() > grant.renewed + SESSION_SECONDS:
            raise Refusal("invalid_grant", _OVER, status=401, reason="the refresh token is too old")
        if await revoking.is_revoked(self._store, grant.claims["sub"], grant.session, grant.began):
            raise Refusal("invalid_grant", _OVER, status=401, reason="the session has been revoked")
        return grant

    async def _known(self, entry: str, grant: Grant) -> Answer | None:
        """The answer that this refresh token got a moment ago, if it did. Raises Refusal where it has been used before
        that."""
        if (sealed := await self._store.get(f"sign-in/refreshed/{entry}")) is not None:
            return (await self.seal()).open(_ANSWER, sealed.decode())
        if await self._store.get(f"sign-in/used/{entry}") is not None:
            # By a process that has not read the new one, or by a thief: it is void, and the session goes on.
            reason = f"session {grant.session}: a refresh token was used again after {REUSE_SECONDS:g} s"
            raise Refusal("invalid_grant", _OVER, status=401, reason=reason)
        return None

    async def _refresh(self, grant: Grant, entry: str) -> Answer:
        try:
            identity = await self._provider.refresh(grant.provider_token)
            claims = grant.claims if identity.claims is None else self.admit(identity.claims)
        except Refusal as refusal:
            if refusal.status == 503:
                raise
            raise Refusal("invalid_grant", _OVER, status=401, reason=refusal.reason) from None
        if claims["sub"] != grant.claims["sub"]:
            raise Refusal("invalid_grant", _OVER, status=401, reason="the provider's refresh was for somebody else")
        now = self._clock()
        renewed = Grant(grant.session, grant.began, now, claims, identity.refresh_token or grant.provider_token)
        answer = await self._answer(renewed)
        sealed = (await self.seal()).close(_ANSWER, answer)
        try:
            # A client that did not get the answer asks again with the old token, which is also what a thief would do.
            # Within a moment it gets the same answer (https://www.rfc-editor.org/rfc/rfc9700#section-4.14).
            await self._store.put(f"sign-in/refreshed/{entry}", sealed.encode(), REUSE_SECONDS)
            await self._store.put(f"sign-in/used/{entry}", b"", SESSION_SECONDS)
        except StoreDown as error:
            # The provider has replaced its token by now: without this answer the session would be lost.
            log.error("sign-in: a refresh cannot be remembered: %s", error)
        return answer

    async def _access_token(self, grant: Grant) -> str:
        # With milliseconds, so that a revocation tells the sessions of before and after it within one second.
        began = math.floor(grant.began * 1000) / 1000
        claims = {**grant.claims, "sid": grant.session, "auth_time": began, "idp": self._settings.issuer}
        return await self.issue(claims, self._settings.token_ttl)

    async def _answer(self, grant: Grant) -> Answer:
        seconds = self._settings.token_ttl
        token = await self._access_token(grant)
        answer: Answer = {"access_token": token, "token_type": "Bearer", "expires_in": seconds}
        if grant.provider_token:
            answer["refresh_token"] = (await self.seal()).close(_REFRESH, msgspec.to_builtins(grant))
        return answer


def _has_overage(claims: dict[str, Any]) -> bool:
    """Entra leaves groups out when there are too many for a token:
    https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference#groups-overage-claim"""
    names = claims.get("_claim_names")
    linked = isinstance(names, dict) and "groups" in names
    return "groups" not in claims and (linked or claims.get("hasgroups") in {True, "true"})
