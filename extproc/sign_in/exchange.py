"""Token exchange (https://www.rfc-editor.org/rfc/rfc8693): a workload's token, as CI systems issue them, for one of the
gateway's own."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from extproc.policy.authentication import tokens
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.proof import UNAVAILABLE, Trusted, prove
from extproc.sign_in.configuration import Configuration, Workload, holds
from extproc.sign_in.on_demand_keys import Fetch, OnDemandKeys
from extproc.sign_in.refusals import Refusal, unavailable

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPE = "urn:ietf:params:oauth:token-type:"
_SUBJECT_TYPES = {_TYPE + name for name in ("jwt", "id_token", "access_token")}
_REQUESTED_TYPES = {_TYPE + name for name in ("jwt", "access_token")}
ISSUED_TYPE = _TYPE + "access_token"
_REFUSED = "this token is not one that the gateway exchanges; the gateway's operator finds the reason in the log"


class Exchanged(msgspec.Struct, frozen=True):
    claims: dict[str, Any]
    seconds: int
    """How long the gateway's token counts."""


class TokenExchange:
    def __init__(self, configuration: Configuration, fetch: Fetch, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[str, list[tuple[Workload, OnDemandKeys]]] = {}
        sources: dict[object, OnDemandKeys] = {}
        for row in configuration.workloads:
            keys = sources.setdefault(row.place, OnDemandKeys(row.place, fetch))
            self._rows.setdefault(row.settings.issuer, []).append((row, keys))

    async def exchange(self, form: Mapping[str, str]) -> Exchanged:
        """What a token exchange gives its client. Raises Refusal."""
        subject_token = form.get("subject_token", "")
        if not subject_token or form.get("subject_token_type") not in _SUBJECT_TYPES:
            known = ", ".join(sorted(_SUBJECT_TYPES))
            raise Refusal("invalid_request", f"expected a subject_token, and a subject_token_type: {known}")
        if form.get("requested_token_type", ISSUED_TYPE) not in _REQUESTED_TYPES:
            raise Refusal("invalid_request", f"requested_token_type: only {ISSUED_TYPE} is issued")
        if form.get("actor_token"):
            raise Refusal("invalid_request", "actor_token is not supported")
        return await self._exchange(subject_token)

    async def _exchange(self, subject_token: str) -> Exchanged:
        try:
            rows = self._rows.get(tokens.parse(subject_token).issuer, [])
        except Unproven as problem:
            raise _refused(str(problem)) from None
        why = "wrong_issuer"
        for row, keys in rows:
            await keys.refresh()
            trusted = Trusted(row.settings, keys)
            try:
                proof = await prove(subject_token, {row.settings.issuer: trusted}, self._clock())
            except Unproven as problem:
                if str(problem) == UNAVAILABLE:
                    raise unavailable(f"keys of {row.settings.issuer}: {keys.problem}") from None
                why = str(problem)
                continue
            if not isinstance(proof.claims.get("sub"), str):
                why = "claim_missing"
            elif not holds(row.when, proof.claims):
                why = "no rule of sign_in.exchange holds"
            else:
                claims = {**row.claims, "sub": proof.claims["sub"], "idp": row.settings.issuer}
                return Exchanged(claims, row.token_ttl)
        raise _refused(why)


def _refused(reason: str) -> Refusal:
    return Refusal("invalid_grant", _REFUSED, reason=f"token exchange: {reason}")
