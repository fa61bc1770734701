"""One JWT (https://www.rfc-editor.org/rfc/rfc7519): its form, its signature, its claims. Stricter than the RFCs
wherever two readers could understand a token in two ways (https://www.rfc-editor.org/rfc/rfc8725).
"""

import base64
import binascii
import re
from typing import Any, TypeVar

import jwt
import msgspec

from extproc.config.schema import Issuer
from extproc.policy.authentication.credential import Unproven
from extproc.policy.keys.keys import Key
from extproc.wire import untrusted

_PART = re.compile("[A-Za-z0-9_-]*")
_ABSENT, _NULL = msgspec.Raw(), msgspec.Raw(b"null")
T = TypeVar("T")
KEY_SUBJECT = "key:"
"""Begins the subject of a static key; no issuer may give one that looks like it."""


class _Header(msgspec.Struct):
    """What decides how a token is verified; other members are skipped."""

    alg: msgspec.Raw = _ABSENT
    kid: msgspec.Raw = _ABSENT
    typ: msgspec.Raw = _ABSENT
    crit: msgspec.Raw = _ABSENT
    enc: msgspec.Raw = _ABSENT
    cty: msgspec.Raw = _ABSENT


class _Payload(msgspec.Struct):
    iss: msgspec.Raw = _ABSENT


class Token(msgspec.Struct, frozen=True):
    """A token whose signature is still to be verified. Anybody can send one, so little of it has been decoded."""

    algorithm: str
    """Empty where the header has no string for it."""
    key_id: str | None
    type: str
    """`typ` as a media type without `application/`, in lower case; empty if absent."""
    issuer: str
    header: bytes
    payload: bytes
    signed: bytes
    signature: bytes


def parse(text: str) -> Token:
    """Raises Unproven."""
    parts = text.split(".")
    if len(parts) == 5:  # https://www.rfc-editor.org/rfc/rfc7516#section-3.1
        raise Unproven("token_encrypted")
    if len(parts) != 3:
        raise Unproven("token_malformed")
    header, payload, signature = map(_bytes, parts)
    head = _decode(_header, header)
    if head.enc != _ABSENT:
        raise Unproven("token_encrypted")
    if head.cty != _ABSENT:  # a token inside the token, or something else that is not claims
        raise Unproven("token_nested")
    issuer = _string(_decode(_payload, payload).iss)
    # `crit` lists headers that a verifier must understand or else refuse the token. This one understands none:
    # https://www.rfc-editor.org/rfc/rfc7515#section-4.1.11.
    if head.crit != _ABSENT:
        raise Unproven("critical_header_not_understood")
    return Token(
        algorithm=_string(head.alg),
        key_id=None if head.kid in (_ABSENT, _NULL) else _decode(_text, head.kid),
        type=media_type("" if head.typ in (_ABSENT, _NULL) else _decode(_text, head.typ)),
        issuer=issuer,
        header=header,
        payload=payload,
        signed=text.rpartition(".")[0].encode(),
        signature=signature,
    )


def media_type(name: str) -> str:
    """The form in which types are compared (https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9)."""
    return name.lower().removeprefix("application/")


def claims(token: Token) -> dict[str, Any]:
    """All claims of a token whose signature has been verified. Raises Unproven."""
    _unique(token.header)
    found = _unique(token.payload)
    # The first look at `iss` was taken before the signature was verified, by a decoder that does not mind a name that
    # comes twice.
    if found.get("iss") != token.issuer:
        raise Unproven("token_malformed")
    return found


def is_proven(token: Token, key: Key, algorithm: str) -> bool:
    """Has this key signed it?"""
    # The key decides which algorithms it is for, never the token alone:
    # https://www.rfc-editor.org/rfc/rfc8725#section-3.1.
    if algorithm not in key.algorithms:
        return False
    try:
        return jwt.get_algorithm_by_name(algorithm).verify(token.signed, key.public, token.signature)
    except (jwt.PyJWTError, ValueError, TypeError):
        return False


def wrong_claim(claims: dict[str, Any], issuer: Issuer, now: float) -> str | None:
    """Why claims that are signed prove nothing to us at `now`, Unix seconds; None: they do."""
    if str(claims.get("sub")).startswith(KEY_SUBJECT):
        return "reserved_subject"
    if any(claims.get(name) is None for name in ("exp", "aud", *issuer.required_claims)):
        return "claim_missing"
    if not all(_is_time(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
        return "token_malformed"
    # A string or a list: https://www.rfc-editor.org/rfc/rfc7519#section-4.1.3.
    audiences = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        return "token_malformed"
    if any(claims.get(name, now) > now + issuer.leeway for name in ("nbf", "iat")):
        return "token_not_yet_valid"
    if not any(audience in issuer.audiences for audience in audiences):
        return "wrong_audience"
    # The last of all, since a client is told of it: it is true only of a token that was good once.
    return "token_expired" if now >= claims["exp"] + issuer.leeway else None


def _is_time(value: Any) -> bool:
    # Seconds may have a fraction (https://www.rfc-editor.org/rfc/rfc7519#section-2); beyond this a JSON number is not
    # exact.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def _bytes(part: str) -> bytes:
    """Decodes base64url in its one canonical spelling: no padding, no line breaks, no stray bits at the end."""
    if not _PART.fullmatch(part):
        raise Unproven("token_malformed")
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Unproven("token_malformed") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise Unproven("token_malformed")
    return data


_header = untrusted.decoder(_Header)
_payload = untrusted.decoder(_Payload)
_text = untrusted.decoder(str)


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Unproven("token_malformed") from None


def _string(raw: msgspec.Raw) -> str:
    """Empty for a value of another type. Raises Unproven."""
    return _decode(_text, raw) if bytes(raw).startswith(b'"') else ""


def _unique(data: bytes) -> dict[str, Any]:
    try:
        value = untrusted.decode_unique(data)
    except untrusted.DuplicateName:
        raise Unproven("duplicate_member") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Unproven("token_malformed") from None
    if not isinstance(value, dict):
        raise Unproven("token_malformed")
    return value
