"""The keys that sign the gateway's own tokens: from a file, or made on first start and kept in the store.

Keys in the store are rotated. A new one is published for a while before it signs, and stays published until the last
token that it signed has expired, so that whoever verifies always has it.
"""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm

from extproc.policy.authentication import own_tokens
from extproc.store.interface import Store

KEY = "sign-in/signing-keys"
ROTATE_SECONDS = 30 * 86400.0
PUBLISHED_SECONDS = 600.0
"""From its publication until a key signs."""
MAX_TOKEN_SECONDS = 86400 + 3600.0
_KEPT_SECONDS = 10 * 365 * 86400.0
FRESH_SECONDS = 30.0


class SigningKey(msgspec.Struct, frozen=True):
    id: str
    pem: str
    signs_from: float
    """Unix seconds."""

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


class SigningKeys:
    def __init__(self, store: Store, pem: bytes | None = None, clock: Callable[[], float] = time.time) -> None:
        """`pem`: the one key there is, instead of those in the store."""
        self._store = store
        self._fixed = [_from_pem(pem.decode())] if pem is not None else None
        self._clock = clock
        self._known: tuple[float, list[SigningKey]] | None = None

    async def sign(self, claims: dict[str, Any]) -> str:
        """Returns a JWT. Raises StoreDown where no key is known."""
        keys = await self._current()
        now = self._clock()
        # The first is the oldest; it signs even where another machine's clock, which made it, is ahead.
        key = [keys[0], *(one for one in keys if one.signs_from <= now)][-1]
        # The type keeps an id_token from being taken for an access token:
        # https://www.rfc-editor.org/rfc/rfc9068#section-4.
        headers = {"kid": key.id, "typ": own_tokens.TYPE}
        return jwt.encode(claims, key.pem, own_tokens.ALGORITHM, headers)

    async def jwks(self) -> dict[str, Any]:
        """The public halves of all keys whose tokens may count. Raises StoreDown."""
        return {"keys": [_public(key) for key in await self._current()]}

    async def _current(self) -> list[SigningKey]:
        if self._fixed is not None:
            return self._fixed
        now = self._clock()
        if self._known is None or not 0 <= now - self._known[0] < FRESH_SECONDS:
            self._known = now, await self._rotated(now)
        return self._known[1]

    async def _rotated(self, now: float) -> list[SigningKey]:
        """Those in the store, after what is due; of several processes one makes a key."""
        while True:
            raw = await self._store.get(KEY)
            if raw is None:
                made = _encode([_new(now)])
                if await self._store.add(KEY, made, _KEPT_SECONDS):
                    return _decode(made)
                continue
            keys = _decode(raw)
            due = _due(keys, now)
            if due == keys or await self._store.swap(KEY, raw, _encode(due), _KEPT_SECONDS):
                return due


def _due(keys: list[SigningKey], now: float) -> list[SigningKey]:
    newest = keys[-1]
    if now > newest.signs_from + ROTATE_SECONDS:
        # Verifiers cache the set of keys, so a new key is published some time before it signs the first token.
        keys = [*keys, _new(now + PUBLISHED_SECONDS)]
    # A key is needed until the last token that it signed has expired, which its successor's beginning tells.
    ends = [key.signs_from + MAX_TOKEN_SECONDS for key in keys[1:]]
    return [key for key, end in zip(keys, [*ends, now + 1], strict=True) if now < end]


def _new(signs_from: float) -> SigningKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return msgspec.structs.replace(_from_pem(pem), signs_from=signs_from)


def _from_pem(pem: str) -> SigningKey:
    digest = hashlib.sha256(json.dumps(_jwk(pem), sort_keys=True).encode()).hexdigest()
    return SigningKey(digest[:16], pem, 0)


def _public(key: SigningKey) -> dict[str, Any]:
    return {**_jwk(key.pem), "kid": key.id, "use": "sig", "alg": own_tokens.ALGORITHM}


def _jwk(pem: str) -> dict[str, Any]:
    private = load_pem_private_key(pem.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return ECAlgorithm.to_jwk(private.public_key(), as_dict=True)


def _encode(keys: list[SigningKey]) -> bytes:
    return msgspec.json.encode(keys)


def _decode(raw: bytes) -> list[SigningKey]:
    return msgspec.json.decode(raw, type=list[SigningKey])
