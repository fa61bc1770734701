"""Tokens that the lab's identity provider would never mint, made of its real keys and of others."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from extproc.demo import idp

Sign = Callable[[bytes], bytes]


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token; None takes one away."""
    now = int(time.time())
    good = {"iss": idp.ISSUER, "aud": idp.AUDIENCE, "sub": "x", "org": "acme", "team": "data-platform"}
    return {key: value for key, value in (good | {"iat": now, "exp": now + 600} | changes).items() if value is not None}


def header(**changes: Any) -> dict[str, Any]:
    good = {"alg": "RS256", "typ": "JWT", "kid": idp.KID}
    return {key: value for key, value in (good | changes).items() if value is not None}


def token(header: Mapping[str, Any], payload: Any, sign: Sign) -> str:
    return raw(json.dumps(header).encode(), json.dumps(payload).encode(), sign)


def raw(header: bytes, payload: bytes, sign: Sign) -> str:
    """Signed whatever it says, be it JSON or not."""
    signed = b".".join(map(_base64, (header, payload)))
    return (signed + b"." + _base64(sign(signed))).decode()


def rs256(folder: Path) -> Sign:
    key = _private(folder / idp.PRIVATE)
    return lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def rsa_with(folder: Path, scheme: Any, digest: Any) -> Sign:
    """By another scheme or digest than the algorithm's name says."""
    key = _private(folder / idp.PRIVATE)
    return lambda data: key.sign(data, scheme, digest)


def jwk(folder: Path) -> dict[str, Any]:
    """The public key as a token's own header would show it."""
    entry: dict[str, Any] = json.loads((folder / idp.PUBLIC).read_text())["keys"][0]
    return entry


def hs256(secret: bytes) -> Sign:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def unsigned(_: bytes) -> bytes:
    return b""


def public_pem(folder: Path) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return _private(folder / idp.PRIVATE).public_key().public_bytes(encoding, form)


@lru_cache
def _private(path: Path) -> rsa.RSAPrivateKey:
    return cast(rsa.RSAPrivateKey, serialization.load_pem_private_key(path.read_bytes(), password=None))


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
