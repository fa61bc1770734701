"""The lab's identity provider: an RSA key in a folder, its public half as a JWKS, tokens that it signs.

Only `jwks.json` is for others; whoever holds `private.pem` is anyone.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

KID = "claude-code-key"
ISSUER = "claude-code-lab"
AUDIENCE = "anthropic-api"
PRIVATE, PUBLIC = "private.pem", "jwks.json"


def ensure_keys(folder: Path) -> None:
    """Makes what is missing. Processes that start at once end up with the same pair."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = folder / PRIVATE
    if not private.exists():
        _create(private, _new_pem())
    if not (folder / PUBLIC).exists():
        _create(folder / PUBLIC, _jwks(private.read_bytes()), mode=0o644)


def _new_pem() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _create(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Whole or not at all; a file that is there already stays: `link`, unlike `rename`, never replaces."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.link(partial, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        Path(partial).unlink()


def _jwks(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{PRIVATE} is not an RSA key")
    public: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    entry = {"kty": "RSA", "kid": KID, "use": "sig", "alg": "RS256", "n": public["n"], "e": public["e"]}
    return json.dumps({"keys": [entry]}, indent=2).encode() + b"\n"


def mint(
    folder: Path,
    *,
    team: str = "data-platform",
    claims: Mapping[str, Any] | None = None,
    ttl: int = 3600,
    now: float | None = None,
) -> str:
    issued = int(time.time() if now is None else now)
    payload: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "developer@acme.example",
        "org": "acme",
        "team": team,
        "llms": {"openai": ["gpt-4o-mini"]},
        "iat": issued,
        "exp": issued + ttl,
        **(claims or {}),
    }
    return sign(payload, (folder / PRIVATE).read_bytes())


def sign(payload: Mapping[str, Any], pem: bytes) -> str:
    # Not `jwt.encode`: that refuses payloads such as a number for `iss`, which a lab must be able to mint.
    return jwt.api_jws.encode(json.dumps(payload).encode(), pem, algorithm="RS256", headers={"kid": KID})


def parse_claim(text: str) -> tuple[str, Any]:
    """`name=value`; a value that is JSON is taken as such, any other as a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"expected name=value, got {text!r}")
    try:
        return name, json.loads(value, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return name, value


def _not_json(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity: Python's own
