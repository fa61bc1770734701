"""Who is calling: a JWT (https://www.rfc-editor.org/rfc/rfc7519) from `authorization` or `x-api-key`."""

import hashlib
from collections import OrderedDict
from typing import Any

import jwt
import msgspec

from extproc.config import Fault, Source
from extproc.endpoints import Operation
from extproc.errors import Kind, Reason, Rejection
from extproc.events import Headers
from extproc.facts import Caller, Facts
from extproc.policy import keys
from extproc.schema import Issuer

MAX_TOKEN_BYTES = 16 * 1024
CACHE_SIZE = 10_000

# PyJWT's verdicts, most specific first, as codes for the record. The client hears none of them.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "token_expired"),
    (jwt.ImmatureSignatureError, "token_not_yet_valid"),
    (jwt.InvalidIssuedAtError, "token_not_yet_valid"),
    (jwt.InvalidAudienceError, "wrong_audience"),
    (jwt.InvalidIssuerError, "wrong_issuer"),
    (jwt.MissingRequiredClaimError, "claim_missing"),
    (jwt.InvalidSignatureError, "bad_signature"),
    (jwt.InvalidAlgorithmError, "algorithm_not_allowed"),
)


class Unproven(Exception):
    """The credential proves nothing; `str()` is the code for the record."""


class _Trusted(msgspec.Struct, frozen=True):
    settings: Issuer
    keys: keys.Keys


class Authenticate:
    """Sets `facts.caller`, or refuses with 401 for every failure alike."""

    def __init__(self, source: Source, faults: list[Fault]) -> None:
        settings = source.config.authentication
        self._mode = settings.mode
        self._issuers: dict[str, _Trusted] = {}
        self._verified: OrderedDict[bytes, tuple[int, Caller]] = OrderedDict()
        if settings.mode == "strict" and not settings.jwt:
            faults.append(Fault(("authentication", "jwt"), "strict mode needs at least one issuer"))
        for index, issuer in enumerate(settings.jwt):
            where = ("authentication", "jwt", index)
            if issuer.issuer in self._issuers:
                faults.append(Fault((*where, "issuer"), f"{issuer.issuer!r} stands here twice"))
            loaded = keys.load(source, issuer, where)
            if isinstance(loaded, Fault):
                faults.append(loaded)
            else:
                self._issuers[issuer.issuer] = _Trusted(issuer, loaded)

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.endpoint is not None and facts.endpoint.operation is Operation.PROBE:
            return None
        try:
            token = credential(facts.headers)
            if token is not None:
                facts.caller = self._verify(token, now)
                return None
        except Unproven as problem:
            return None if self._mode == "permissive" else _refusal("invalid credential", str(problem))
        return _refusal("missing credential", "credential_missing") if self._mode == "strict" else None

    def _verify(self, token: str, now: float) -> Caller:
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and now < known[0]:
            return known[1]
        caller, until = self._check(token)
        self._verified[digest] = until, caller
        if len(self._verified) > CACHE_SIZE:
            self._verified.popitem(last=False)
        return caller

    def _check(self, token: str) -> tuple[Caller, int]:
        """The caller, and the second from which the token no longer proves anything."""
        header, trusted = self._unverified(token)
        algorithm = header.get("alg")
        if algorithm not in trusted.settings.algorithms:
            raise Unproven("algorithm_not_allowed")
        if "crit" in header:
            raise Unproven("critical_header_not_understood")
        key = trusted.keys.find(header.get("kid"), algorithm)
        if key is None:
            raise Unproven("unknown_key")
        claims = _decode(token, key, algorithm, trusted.settings)
        if not isinstance(claims["exp"], int | float) or isinstance(claims["exp"], bool):
            raise Unproven("token_malformed")
        return Caller(claims), int(claims["exp"]) + trusted.settings.leeway

    def _unverified(self, token: str) -> tuple[dict[str, Any], _Trusted]:
        """The header, and the issuer whose keys must confirm what the token says of itself."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unproven("token_malformed") from None
        issuer = claims.get("iss")
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise Unproven("wrong_issuer")
        return header, trusted


def credential(headers: Headers) -> str | None:
    """The one token a request carries. Claude Code with an apiKeyHelper sends the same one in both headers.
    Raises Unproven when there is no telling which is meant: Envoy joins repeated `authorization` with a comma."""
    found = {_bearer(value) for value in headers.all("authorization")} | set(headers.all("x-api-key"))
    if len(found) > 1 or any("," in token for token in found):
        raise Unproven("two_credentials")
    token = next(iter(found), None)
    if token is not None and (not token or len(token) > MAX_TOKEN_BYTES or not token.isascii()):
        raise Unproven("token_malformed")
    return token


def _bearer(value: str) -> str:
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer":
        raise Unproven("not_a_bearer_token")
    return token.strip()


def _decode(token: str, key: keys.Key, algorithm: str, settings: Issuer) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key.public,
            algorithms=[algorithm],
            audience=settings.audiences,
            issuer=settings.issuer,
            leeway=settings.leeway,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.PyJWTError as error:
        raise Unproven(next((code for kind, code in _CODES if isinstance(error, kind)), "token_malformed")) from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Unproven("token_malformed") from None


_FINAL = (("x-should-retry", "false"),)


def _refusal(message: str, detail: str) -> Rejection:
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
