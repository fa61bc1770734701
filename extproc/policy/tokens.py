"""One JWT (https://www.rfc-editor.org/rfc/rfc7519): its form, its signature, its claims. Stricter than the RFCs
wherever two readers could understand a token in two ways (https://www.rfc-editor.org/rfc/rfc8725).
"""

import base64
import binascii
import re
from typing import Any

import jwt
import msgspec

from extproc.policy.keys import Key
from extproc.schema import Issuer
from extproc.wire import untrusted

_PART = re.compile("[A-Za-z0-9_-]*")


class Unproven(Exception):
    """The credential proves nothing; `str()` is the code for the record."""


class Token(msgspec.Struct, frozen=True):
    """What a token says of itself, signature unchecked."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def parse(text: str) -> Token:
    """Raises Unproven."""
    parts = text.split(".")
    if len(parts) == 5:  # https://www.rfc-editor.org/rfc/rfc7516#section-3.1
        raise Unproven("token_encrypted")
    if len(parts) != 3:
        raise Unproven("token_malformed")
    header = _object(parts[0])
    if "enc" in header:
        raise Unproven("token_encrypted")
    if "cty" in header:  # a token inside the token, or something else that is not claims
        raise Unproven("token_nested")
    signed = text.rpartition(".")[0].encode()
    return Token(header, _object(parts[1]), signed, _bytes(parts[2]))


def is_proven(token: Token, key: Key, algorithm: str) -> bool:
    """Has this key signed it?"""
    if algorithm not in key.algorithms:
        return False
    try:
        return jwt.get_algorithm_by_name(algorithm).verify(token.signed, key.public, token.signature)
    except (jwt.PyJWTError, ValueError, TypeError):
        return False


def wrong_claim(claims: dict[str, Any], issuer: Issuer, now: float) -> str | None:
    """Why claims that are signed prove nothing to us at `now`, Unix seconds; None: they do."""
    if any(claims.get(name) is None for name in ("exp", "aud", *issuer.required_claims)):
        return "claim_missing"
    if not all(_is_time(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
        return "token_malformed"
    audiences = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        return "token_malformed"
    if now >= claims["exp"] + issuer.leeway:
        return "token_expired"
    if any(claims.get(name, now) > now + issuer.leeway for name in ("nbf", "iat")):
        return "token_not_yet_valid"
    return None if any(audience in issuer.audiences for audience in audiences) else "wrong_audience"


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def _bytes(part: str) -> bytes:
    """Of base64url in its one canonical spelling: no padding, no line breaks, no stray bits at the end."""
    if not _PART.fullmatch(part):
        raise Unproven("token_malformed")
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Unproven("token_malformed") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise Unproven("token_malformed")
    return data


def _object(part: str) -> dict[str, Any]:
    try:
        value = untrusted.decode_unique(_bytes(part))
    except untrusted.DuplicateName:
        raise Unproven("duplicate_member") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Unproven("token_malformed") from None
    if not isinstance(value, dict):
        raise Unproven("token_malformed")
    return value
