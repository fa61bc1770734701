"""Authentication: a chain of authenticators, of which the first that knows the caller decides."""

from collections.abc import Callable
from typing import Any

from extproc.config.endpoints import Operation
from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.authentication import api_keys, certificates, jwt_issuers
from extproc.policy.authentication import credential as credentials
from extproc.policy.authentication.authenticator import Authenticator, Presented, Setup
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.proof import UNAVAILABLE
from extproc.policy.facts import ANONYMOUS, Caller, Identified, Located
from extproc.policy.keys.key_sets import KeySets

AUTHENTICATORS: tuple[Callable[[Setup], Authenticator | None], ...] = (
    # SDKs insist on sending some key, so a caller with a certificate is not asked for a good one.
    certificates.load,
    api_keys.load,
    jwt_issuers.load,
)
"""The chain, in its order. Each makes an authenticator of the configuration, or returns None where it is not wanted."""


class Authenticate:
    """Finds the caller, or refuses with 401: alike for every failure but a token that has expired."""

    def __init__(
        self, source: Source, faults: list[Fault], remote: KeySets[Any], claims: frozenset[str] | None = None
    ) -> None:
        """`claims`: those that somebody will read, besides `iss` and `sub`; None: any may be."""
        settings = source.config.authentication
        self._mode = settings.mode
        self._locations = settings.locations
        self._max_bytes = settings.max_token_bytes
        known = settings.jwt or settings.api_keys or settings.certificates or source.config.sign_in
        if settings.mode == "strict" and not known:
            problem = "strict mode needs at least one issuer, or api_keys, or certificates, or sign_in"
            faults.append(Fault(("authentication", "jwt"), problem))
        faults += credentials.faults(settings.locations)
        setup = Setup(source, remote, claims, faults)
        self._chain = [made for load in AUTHENTICATORS if (made := load(setup)) is not None]
        self.fetched = setup.fetched
        self.without_keys = setup.without_keys

    async def __call__(self, call: Located, now: float) -> Identified | Rejection:
        """`now`: Unix seconds."""
        probe = call.endpoint is not None and call.endpoint.operation is Operation.PROBE
        caller = ANONYMOUS if probe else await self._caller(call, now)
        return caller if isinstance(caller, Rejection) else call.of(caller)

    async def _caller(self, call: Located, now: float) -> Caller | Rejection:
        request = call.request
        cloud = call.endpoint.cloud if call.endpoint is not None else None
        headers = request.headers if cloud is None else cloud.api.presented(request.headers)
        presented = Presented(headers, request.certificate, self._locations, self._max_bytes)
        try:
            for authenticator in self._chain:
                if (caller := await authenticator.identify(presented, now)) is not None:
                    return caller
        except Unproven as problem:
            return ANONYMOUS if self._mode == "permissive" else _refusal(_message(str(problem)), str(problem))
        return _refusal("missing credential", "credential_missing") if self._mode == "strict" else ANONYMOUS


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
