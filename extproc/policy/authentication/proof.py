"""Whether a token is proven by an issuer that is trusted for a purpose: to make calls, to sign in, to be exchanged."""

from collections.abc import Mapping
from typing import Any

import msgspec

from extproc.config.schema import Issuer
from extproc.policy.authentication import tokens
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.revocations import Revocations
from extproc.policy.authentication.tokens import Token
from extproc.policy.keys.keys import Key, KeySource

UNAVAILABLE = "keys_unavailable"


class Trusted(msgspec.Struct, frozen=True):
    """An issuer, what its tokens must be like, and its keys."""

    settings: Issuer
    keys: KeySource
    revocations: Revocations | None = None
    """Which of the gateway's own tokens have been revoked; None for other issuers."""


class Proof(msgspec.Struct, frozen=True):
    """What a token says, and who vouches for it."""

    claims: dict[str, Any]
    """All of them."""
    key: Key
    trusted: Trusted


async def prove(text: str, issuers: Mapping[str, Trusted], now: float) -> Proof:
    """Returns what the token proves. Nothing that it claims is decoded before its signature is verified. `issuers`: by
    the `iss` of their tokens. `now`: Unix seconds. Raises Unproven."""
    token = tokens.parse(text)
    trusted = issuers.get(token.issuer)
    if trusted is None:
        raise Unproven("wrong_issuer")
    # https://www.rfc-editor.org/rfc/rfc8725#section-3.1
    if token.algorithm not in trusted.settings.algorithms:
        raise Unproven("algorithm_not_allowed")
    # A token that was issued for something else, such as signing out, proves nothing here:
    # https://www.rfc-editor.org/rfc/rfc8725#section-3.11.
    if token.type and token.type not in trusted.settings.media_types:
        raise Unproven("wrong_token_type")
    key = await _proving_key(token, trusted.keys)
    claims = tokens.claims(token)
    if wrong := tokens.wrong_claim(claims, trusted.settings, now):
        raise Unproven(wrong)
    return Proof(claims, key, trusted)


async def _proving_key(token: Token, source: KeySource) -> Key:
    """The key that signed the token. Raises Unproven."""
    key = await _find(source, token.key_id, token.algorithm)
    proven = tokens.is_proven(token, key, token.algorithm)
    if not proven and token.key_id is not None and key.id is None:
        # A key without an id may be of any; it was not, so this one may be new.
        await source.refresh_keys()
        key = await _find(source, token.key_id, token.algorithm)
        proven = tokens.is_proven(token, key, token.algorithm)
    if not proven:
        raise Unproven("bad_signature")
    return key


async def _find(source: KeySource, kid: str | None, algorithm: str) -> Key:
    """Raises Unproven."""
    current = source.current()
    if current is not None and kid is not None and not current.knows(kid):
        await source.refresh_keys()
        current = source.current()
    if current is None:
        raise Unproven(UNAVAILABLE)
    key = current.find(kid, algorithm)
    if key is None:
        raise Unproven("unknown_key")
    return key
