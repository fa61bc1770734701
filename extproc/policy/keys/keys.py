"""Public keys of token issuers (JWKS, https://www.rfc-editor.org/rfc/rfc7517), and which of them fits a token."""

import hashlib
import json
from typing import Any, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema import Issuer

# https://www.rfc-editor.org/rfc/rfc7518#section-3.3
MIN_RSA_BITS = 2048
# The algorithms of each type and curve. All others are refused, HMAC among them.
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    "EC": {"P-256": frozenset({"ES256"}), "P-384": frozenset({"ES384"}), "P-521": frozenset({"ES512"})},
    "OKP": {"Ed25519": frozenset({"EdDSA"})},  # https://www.rfc-editor.org/rfc/rfc8037
}
_TYPES = ("RSA", *_CURVES)


class NoKeySet(Exception):
    """A document is not a JWKS; `str()` says what was expected."""


class Key(msgspec.Struct, frozen=True):
    id: str | None
    algorithms: frozenset[str]
    public: Any
    fingerprint: bytes
    """SHA-256 of the public key alone."""

    @property
    def identity(self) -> tuple[str | None, frozenset[str], bytes]:
        return self.id, self.algorithms, self.fingerprint


class Keys:
    """The keys of one issuer at one time."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys
        self._ids = {key.id for key in keys}
        self._identities = {key.identity for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """Returns the one key that fits, by its id where both token and key have one; None if none or several fit."""
        # `kid` is optional, in tokens and in keys: https://www.rfc-editor.org/rfc/rfc7517#section-4.5.
        identifier = kid if kid in self._ids else None
        fitting = [key for key in self._keys if kid is None or key.id == identifier if algorithm in key.algorithms]
        return fitting[0] if len(fitting) == 1 else None

    def knows(self, kid: str) -> bool:
        """Returns whether a key can have this id; a key without an id can have any."""
        return kid in self._ids or None in self._ids

    def holds(self, key: Key) -> bool:
        """Returns whether the issuer still has this key."""
        return key.identity in self._identities


class KeySource(Protocol):
    """Provides an issuer's keys, which may change."""

    def current(self) -> Keys | None:
        """Returns the keys; None if none can be trusted at the moment."""

    async def refresh_keys(self) -> None:
        """A token names a key that is not there: look again, if that may be done now."""


class Fixed:
    """Keys of a file. When the file changes, a new gateway is made."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def current(self) -> Keys | None:
        return self._keys

    async def refresh_keys(self) -> None:
        return


def load(source: Source, issuer: Issuer, where: Where) -> Fixed | Fault:
    """Reads keys from a file or the configuration itself, where every key must be usable. A set without keys is not a
    fault: its keys were taken back."""
    raw = issuer.jwks.inline
    if raw is None:
        assert issuer.jwks.file is not None
        try:
            raw = read(source.read_keys(issuer.jwks.file, issuer.jwks.max_stale))
        except OSError as error:
            return Fault((*where, "jwks", "file"), f"{issuer.jwks.file} cannot be read: {error.strerror}")
        except (ValueError, RecursionError):
            return Fault((*where, "jwks", "file"), f"{issuer.jwks.file} is not JSON")
    try:
        keys, problems = parse(raw)
    except NoKeySet as error:
        return Fault((*where, "jwks"), str(error))
    if problems:
        return Fault((*where, "jwks"), problems[0])
    return Fixed(keys)


def read(document: bytes) -> Any:
    """Returns the JSON of a JWKS; an empty document is a set without keys. Raises ValueError, RecursionError."""
    return json.loads(document) if document.strip() else {"keys": []}


def parse(raw: Any) -> tuple[Keys, list[str]]:
    """Returns the usable keys, and what is wrong with each of the others, by its number. Raises NoKeySet."""
    entries = raw.get("keys") if isinstance(raw, dict) else None
    if not isinstance(entries, list):
        raise NoKeySet('expected a JWKS: {"keys": [...]}')
    keys: list[Key] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and not _for_signatures(entry):
            continue
        key = _key(entry)
        if isinstance(key, str):
            problems.append(f"keys.{index}: {key}")
            continue
        same = next(
            (n for n, other in enumerate(keys) if (key.id, key.fingerprint) == (other.id, other.fingerprint)), None
        )
        if same is not None:  # an entry for each algorithm, or the same twice
            keys[same] = msgspec.structs.replace(key, algorithms=key.algorithms | keys[same].algorithms)
            continue
        if key.id is not None and any(key.id == other.id and key.algorithms & other.algorithms for other in keys):
            problems.append(f"keys.{index}: the kid {key.id!r} occurs twice")
        keys.append(key)
    return Keys(keys), problems


def _for_signatures(entry: dict[str, Any]) -> bool:
    """Returns whether a key is for signatures; an identity provider may have others, for encryption."""
    operations = entry.get("key_ops", ["verify"])
    if "d" in entry:
        return True  # a private key is a mistake, whatever it is for
    # Either member may be left out: https://www.rfc-editor.org/rfc/rfc7517#section-4.2.
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _key(entry: Any) -> Key | str:
    if not isinstance(entry, dict) or entry.get("kty") not in _TYPES:
        return f"expected a public key of type {', '.join(_TYPES)}"
    if "d" in entry:
        return "this is a private key; only the public one belongs here"
    identifier, algorithm = entry.get("kid"), entry.get("alg")
    if not isinstance(identifier, str | None) or not isinstance(algorithm, str | None):
        return "kid and alg are strings"
    try:
        public = jwt.PyJWK(entry).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
        return f"not a usable key ({type(error).__name__})"
    if isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        return f"an RSA key of {public.key_size} bits; at least {MIN_RSA_BITS} are required"
    fitting = _fitting(entry)
    if algorithm is not None:
        fitting &= {algorithm}
    if not fitting:
        return f"a key of this type and curve is not used with {algorithm or 'any algorithm here'}"
    content = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(identifier, fitting, public, hashlib.sha256(content).digest())


def _fitting(entry: dict[str, Any]) -> frozenset[str]:
    curve = entry.get("crv")
    if entry["kty"] == "RSA":
        return _RSA
    return _CURVES[entry["kty"]].get(curve, frozenset()) if isinstance(curve, str) else frozenset()
