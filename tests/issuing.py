"""Tokens for tests: an issuer with one key of each family, made once."""

import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "lab", "gateway"


def private(family: str = "EC", size: int = 2048) -> Any:
    return _made(family, size)


@cache
def _made(family: str, size: int) -> Any:
    if family == "RSA":
        return rsa.generate_private_key(65537, size)
    return ec.generate_private_key(ec.SECP256R1()) if family == "EC" else ed25519.Ed25519PrivateKey.generate()


def jwk(family: str = "EC", size: int = 2048, **members: Any) -> dict[str, Any]:
    key = private(family, size).public_key()
    to_jwk: Any = {"RSA": RSAAlgorithm.to_jwk, "EC": ECAlgorithm.to_jwk, "OKP": OKPAlgorithm.to_jwk}[family]
    return {**json.loads(to_jwk(key)), "kid": f"{family}-1", **members}


def claims(**changes: Any) -> dict[str, Any]:
    """Good ones, by the real clock as by a playbook's; None takes a claim away."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 3600, "iat": 1_000_000}
    good |= {"org": "acme", "team": "data"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(
    payload: dict[str, Any] | bytes | None = None,
    *,
    header: dict[str, Any] | None = None,
    family: str = "EC",
    alg: str = "ES256",
    key: Any = None,
) -> str:
    """Signed whatever it says: PyJWT's own `encode` would refuse a number for `iss`."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload or claims()).encode()
    headers = {"kid": f"{family}-1", **(header or {})}
    return jwt.api_jws.encode(content, key or private(family), algorithm=alg, headers=headers)
