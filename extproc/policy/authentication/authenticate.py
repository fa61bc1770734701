"""Who is calling: a JWT of a trusted issuer, or a static key."""

from typing import Any

from extproc.config.endpoints import Operation
from extproc.config.loading import Fault, Source, Where
from extproc.config.schema import Issuer
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.authentication import api_keys, own_tokens
from extproc.policy.authentication import credential as credentials
from extproc.policy.authentication.credential import credential
from extproc.policy.authentication.proof import UNAVAILABLE, Trusted, prove
from extproc.policy.authentication.token_cache import TokenCache, Verified
from extproc.policy.authentication.tokens import Unproven
from extproc.policy.facts import Caller, Facts
from extproc.policy.keys import keys, places
from extproc.policy.keys.key_sets import KeySets, Plan
from extproc.policy.keys.keys import KeySource

_ALWAYS_KEPT = frozenset({"iss", "sub"})


class Authenticate:
    """Sets `facts.caller`, or refuses with 401: alike for every failure but a token that has expired."""

    def __init__(
        self, source: Source, faults: list[Fault], remote: KeySets[Any], claims: frozenset[str] | None = None
    ) -> None:
        """`claims`: those that somebody will read, besides `iss` and `sub`; None: any may be."""
        settings = source.config.authentication
        self._mode = settings.mode
        self._locations = settings.locations
        self._hidden = credentials.headers(settings.locations)
        self._most = settings.max_token_bytes
        self._issuers: dict[str, Trusted] = {}
        self._verified = TokenCache(settings.token_cache_bytes)
        self._claims = None if claims is None else claims | _ALWAYS_KEPT
        self.fetched: list[Plan] = []
        """For KeySets.use."""
        self.without_keys: list[Where] = []
        """Files and sets that hold no key, so that nobody gets in by them."""
        if settings.mode == "strict" and not (settings.jwt or settings.api_keys or source.config.sign_in):
            problem = "strict mode needs at least one issuer, or api_keys, or sign_in"
            faults.append(Fault(("authentication", "jwt"), problem))
        faults += credentials.faults(settings.locations)
        self._api_keys = api_keys.load(source, faults)
        if settings.api_keys is not None and not len(self._api_keys):
            self.without_keys.append(("authentication", "api_keys"))
        if source.config.sign_in is not None:
            ourselves = own_tokens.issuer(source.config.sign_in)
            plan = own_tokens.plan(source.config)
            self.fetched.append(plan)
            self._issuers[ourselves.issuer] = Trusted(ourselves, remote.at(plan), remote.revocations)
        for index, issuer in enumerate(settings.jwt):
            where = ("authentication", "jwt", index)
            if issuer.issuer in self._issuers:
                faults.append(Fault((*where, "issuer"), f"{issuer.issuer!r} stands here twice"))
            found = self._keys(source, issuer, where, remote)
            if isinstance(found, Fault):
                faults.append(found)
            else:
                self._issuers[issuer.issuer] = Trusted(issuer, found)

    def _keys(self, source: Source, issuer: Issuer, where: Where, remote: KeySets[Any]) -> KeySource | Fault:
        if not issuer.jwks.fetched:
            fixed = keys.load(source, issuer, where)
            if isinstance(fixed, keys.Fixed) and not fixed.current():
                self.without_keys.append((*where, "jwks"))
            return fixed
        place = places.load(source, issuer, where)
        if isinstance(place, Fault):
            return place
        plan = Plan(place, issuer.jwks.refresh, issuer.jwks.max_stale)
        self.fetched.append(plan)
        found: KeySource = remote.at(plan)
        return found

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.endpoint is not None and facts.endpoint.operation is Operation.PROBE:
            return None
        facts.hidden = self._hidden
        try:
            token = credential(facts.headers, self._locations, self._most)
            if token is not None:
                facts.caller = await self._verify(token, now)
                return None
        except Unproven as problem:
            return None if self._mode == "permissive" else _refusal(_message(str(problem)), str(problem))
        return _refusal("missing credential", "credential_missing") if self._mode == "strict" else None

    async def _verify(self, token: str, now: float) -> Caller:
        if token.startswith(api_keys.PREFIX):
            return self._api_keys.verify(token, now)
        if (known := self._verified.get(token, now)) is not None:
            return known
        verified = await self._check(token, now)
        self._verified.add(token, verified)
        return verified.caller

    async def _check(self, text: str, now: float) -> Verified:
        """Raises Unproven."""
        proof = await prove(text, self._issuers, now)
        until = proof.claims["exp"] + proof.trusted.settings.leeway
        caller = Caller(self._kept(proof.claims))
        revocations = proof.trusted.revocations
        if revocations is None:
            return Verified(caller, until, proof.key, proof.trusted.keys)
        revoked = revocations.check_of(proof.claims)
        if revoked():
            raise Unproven("token_revoked")
        return Verified(caller, until, proof.key, proof.trusted.keys, revoked)

    def _kept(self, claims: dict[str, Any]) -> dict[str, Any]:
        if self._claims is None:
            return claims
        return {name: value for name, value in claims.items() if name in self._claims}


_FINAL = (("x-should-retry", "false"),)


def _message(problem: str) -> str:
    """A client learns that its credential has expired, and nothing else about why it was refused."""
    return "credential expired" if problem == "token_expired" else "invalid credential"


def _refusal(message: str, detail: str) -> Rejection:
    if detail == UNAVAILABLE:
        # That nobody can tell is no fault of the caller's, whose client would throw a good token away at a 401.
        message = "credentials cannot be verified at the moment"
        return Rejection(kind=Kind.API, status=503, message=message, reason=Reason.JWT_AUTH, detail=detail)
    # https://www.rfc-editor.org/rfc/rfc6750#section-3: no error code where no credential was sent.
    challenge = "Bearer" if detail == "credential_missing" else 'Bearer error="invalid_token"'
    return Rejection(
        kind=Kind.AUTHENTICATION,
        message=message,
        reason=Reason.JWT_AUTH,
        code="invalid_api_key",
        detail=detail,
        # Claude Code tries ten times, in silence, unless told not to; an expired token it can renew.
        headers=(("www-authenticate", challenge), *(() if detail == "token_expired" else _FINAL)),
    )
