"""Callers known by a JWT of a trusted issuer. Tokens that have been verified are kept, bounded by bytes."""

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from extproc.config.faults import Fault, Where
from extproc.config.schema import Issuer
from extproc.policy.authentication import own_tokens
from extproc.policy.authentication.authenticator import Presented, Setup
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.proof import Trusted, prove
from extproc.policy.authentication.revocations import Revocations
from extproc.policy.facts import Caller
from extproc.policy.keys import keys, places
from extproc.policy.keys.key_sets import KeySetSpec
from extproc.policy.keys.keys import Key, KeySource

OVERHEAD_BYTES = 1024
"""What an entry costs beside its claims."""


def _never() -> bool:
    return False


class Verified(msgspec.Struct, frozen=True):
    """A token that proved something when it was verified."""

    caller: Caller
    until: float
    """The second from which it no longer does."""
    key: Key
    source: KeySource
    revoked: Callable[[], bool] = _never
    """Whether it has been revoked by now."""

    def is_valid(self, now: float) -> bool:
        current = self.source.current()
        return now < self.until and current is not None and current.holds(self.key) and not self.revoked()


class TokenCache:
    """Forgets what has not been used for longest when it would hold more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[Verified, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: str, now: float) -> Caller | None:
        digest = _digest(token)
        found = self._entries.get(digest)
        if found is None:
            return None
        if not found[0].is_valid(now):
            self._drop(digest)
            return None
        self._entries.move_to_end(digest)
        return found[0].caller

    def add(self, token: str, verified: Verified) -> None:
        digest = _digest(token)
        self._drop(digest)
        size = OVERHEAD_BYTES + size_of(verified.caller.claims)
        self._entries[digest] = verified, size
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, digest: bytes) -> None:
        _, size = self._entries.pop(digest, (None, 0))
        self._bytes -= size


# The cache holds no token, so that a dump of the memory has none of those that were verified before.
def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def size_of(value: Any) -> int:
    """Bytes of memory that a JSON value takes."""
    total, pending = 0, [value]
    while pending:
        one = pending.pop()
        total += sys.getsizeof(one)
        if isinstance(one, dict):
            pending += one.keys()
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return total


_ALWAYS_KEPT = frozenset({"iss", "sub"})


class JwtIssuers:
    """Takes any token for its own, so it comes after all who know theirs by its look."""

    def __init__(self, cache_bytes: int, claims: frozenset[str] | None = None) -> None:
        """`claims`: those that somebody will read, besides `iss` and `sub`; None: any may be."""
        self._issuers: dict[str, Trusted] = {}
        self._verified = TokenCache(cache_bytes)
        self._claims = None if claims is None else claims | _ALWAYS_KEPT

    def trust(self, issuer: Issuer, source: KeySource, revocations: Revocations | None = None) -> None:
        """Tokens that this issuer signs by these keys are good from now on, except for those that are revoked."""
        self._issuers[issuer.issuer] = Trusted(issuer, source, revocations)

    async def identify(self, presented: Presented, now: float) -> Caller | None:
        """Returns the caller that the token proves; see Authenticator."""
        token = presented.token
        if token is None:
            return None
        if (known := self._verified.get(token, now)) is not None:
            return known
        verified = await self._verify(token, now)
        self._verified.add(token, verified)
        return verified.caller

    async def _verify(self, token: str, now: float) -> Verified:
        """Raises Unproven."""
        proof = await prove(token, self._issuers, now)
        until = proof.claims["exp"] + proof.trusted.settings.leeway
        caller = Caller(self._kept(proof.claims))
        revocations = proof.trusted.revocations
        if revocations is None:
            return Verified(caller, until, proof.key, proof.trusted.keys)
        is_revoked = revocations.check_of(proof.claims)
        if is_revoked():
            raise Unproven("token_revoked")
        return Verified(caller, until, proof.key, proof.trusted.keys, is_revoked)

    def _kept(self, claims: dict[str, Any]) -> dict[str, Any]:
        if self._claims is None:
            return claims
        return {name: value for name, value in claims.items() if name in self._claims}


def load(setup: Setup) -> JwtIssuers:
    """Returns the authenticator with all of `authentication.jwt`, and with the gateway's own sign-in."""
    settings = setup.source.config.authentication
    made = JwtIssuers(settings.token_cache_bytes, setup.claims)
    seen: set[str] = set()
    if setup.source.config.sign_in is not None:
        own = own_tokens.issuer(setup.source.config.sign_in)
        plan = own_tokens.plan(setup.source.config)
        setup.fetched.append(plan)
        seen.add(own.issuer)
        made.trust(own, setup.remote.at(plan), setup.remote.revocations)
    for index, issuer in enumerate(settings.jwt):
        where = ("authentication", "jwt", index)
        if issuer.issuer in seen:
            setup.faults.append(Fault((*where, "issuer"), f"{issuer.issuer!r} stands here twice"))
        seen.add(issuer.issuer)
        found = _keys(setup, issuer, where)
        if isinstance(found, Fault):
            setup.faults.append(found)
        else:
            made.trust(issuer, found)
    return made


def _keys(setup: Setup, issuer: Issuer, where: Where) -> KeySource | Fault:
    if not issuer.jwks.fetched:
        fixed = keys.load(setup.source, issuer, where)
        if isinstance(fixed, keys.Fixed) and not fixed.current():
            setup.without_keys.append((*where, "jwks"))
        return fixed
    place = places.load(setup.source, issuer, where)
    if isinstance(place, Fault):
        return place
    plan = KeySetSpec(place, issuer.jwks.refresh, issuer.jwks.max_stale)
    setup.fetched.append(plan)
    found: KeySource = setup.remote.at(plan)
    return found
