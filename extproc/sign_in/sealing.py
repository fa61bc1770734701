"""Values that travel through browsers and clients and come back, readable to the gateway alone (AES-256-GCM)."""

import base64
import binascii
import os
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES, _NONCE_BYTES = 32, 12


class NotSealed(Exception):
    """The text was not sealed by this key for this purpose."""


class Seal:
    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes."""
        self._cipher = AESGCM(key)

    def close(self, purpose: str, value: dict[str, Any]) -> str:
        """Returns base64url text. `purpose`: what it may be opened for."""
        # A nonce must never come twice with one key; random ones of 96 bits are safe for 2^32 messages (NIST SP
        # 800-38D, 8.3).
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, msgspec.json.encode(value), purpose.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, purpose: str, text: str) -> dict[str, Any]:
        """Raises NotSealed."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
            opened: dict[str, Any] = msgspec.json.decode(content)
        except (binascii.Error, ValueError, InvalidTag):
            raise NotSealed from None
        return opened
