"""Public keys of token issuers (JWKS, https://www.rfc-editor.org/rfc/rfc7517)."""

import json
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from extproc.config import Fault, Source, Where
from extproc.schema import Issuer

MIN_RSA_BITS = 2048
# A key of one of these families fits the algorithms that start so; anything else is refused, HMAC first of all.
_FAMILIES = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("EdDSA",)}


class Key(msgspec.Struct, frozen=True):
    id: str | None
    family: str
    algorithm: str | None
    """The only one it may be used with, if the key says so."""
    public: Any

    def fits(self, algorithm: str) -> bool:
        return algorithm.startswith(_FAMILIES[self.family]) and self.algorithm in (None, algorithm)


class Keys:
    """The keys of one issuer."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The one key that fits, by its id where the token names one; None if there is none, or more than one."""
        fitting = [key for key in self._keys if kid in (None, key.id) and key.fits(algorithm)]
        return fitting[0] if len(fitting) == 1 else None


def load(source: Source, issuer: Issuer, where: Where) -> Keys | Fault:
    raw = issuer.jwks.inline
    if raw is None:
        assert issuer.jwks.file is not None
        try:
            raw = json.loads(source.read(issuer.jwks.file))
        except OSError as error:
            return Fault((*where, "jwks", "file"), f"{issuer.jwks.file} cannot be read: {error.strerror}")
        except ValueError:
            return Fault((*where, "jwks", "file"), f"{issuer.jwks.file} is not JSON")
    return _parse(raw, (*where, "jwks"))


def _parse(raw: Any, where: Where) -> Keys | Fault:
    entries = raw.get("keys") if isinstance(raw, dict) else None
    if not isinstance(entries, list) or not entries:
        return Fault(where, 'expected a JWKS: {"keys": [...]} with at least one key')
    keys: list[Key] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("use") == "enc":
            continue  # an identity provider's other key, for secrets sent to it
        key = _key(entry)
        if isinstance(key, str):
            return Fault(where, f"keys.{index}: {key}")
        if any(key.id == other.id and key.family == other.family for other in keys if key.id):
            return Fault(where, f"keys.{index}: the kid {key.id!r} stands here twice")
        keys.append(key)
    return Keys(keys) if keys else Fault(where, "none of the keys is for signatures")


def _key(entry: Any) -> Key | str:
    if not isinstance(entry, dict) or not isinstance(entry.get("kty"), str) or entry["kty"] not in _FAMILIES:
        return f"expected a public key of type {', '.join(_FAMILIES)}"
    if "d" in entry:
        return "this is a private key; only the public one belongs here"
    try:
        public = jwt.PyJWK(entry).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
        return f"not a usable key ({type(error).__name__})"
    if isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        return f"an RSA key of {public.key_size} bits; at least {MIN_RSA_BITS} are required"
    identifier, algorithm = entry.get("kid"), entry.get("alg")
    if not isinstance(identifier, str | None) or not isinstance(algorithm, str | None):
        return "kid and alg are strings"
    return Key(identifier, entry["kty"], algorithm, public)
