"""The envelope in which reasoning travels through a Messages client and back, so nothing is stored here.

A thinking block's signature is opaque to clients and returned untouched. It is neither secret nor signed:
whoever reads it must treat the content as the client's own words.
"""

import base64
import binascii
from typing import Any

import msgspec

from extproc.wire import untrusted

# Signatures of vendors are base64, which has no dot.
PREFIX = "atr1."
# A client can send anything: what is longer than any reasoning is not even decoded.
MAX_CHARS = 256 * 1024


class Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an envelope holds."""

    f: str
    """Carrier: the upstream's member the reasoning came from."""
    d: Any = None
    """Opaque data to send back."""
    t: str | None = None
    """The reasoning text, when it was hidden from the client."""


_decoder = untrusted.decoder(Sealed)


def is_ours(signature: object) -> bool:
    """Whether a signature (or redacted data) was written by `seal`."""
    return isinstance(signature, str) and signature.startswith(PREFIX)


def seal(carrier: str, data: Any = None, text: str | None = None) -> str:
    """An envelope: equal input gives equal characters."""
    raw = msgspec.json.encode(Sealed(carrier, data, text), order="sorted")
    return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unseal(signature: object) -> Sealed | None:
    """The content of an envelope of ours; None for anything else, however broken."""
    if not isinstance(signature, str) or not signature.startswith(PREFIX) or len(signature) > MAX_CHARS:
        return None
    text = signature[len(PREFIX) :]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return _decoder.decode(raw)
    except (binascii.Error, ValueError, RecursionError):
        return None
