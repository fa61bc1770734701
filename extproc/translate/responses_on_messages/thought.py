"""Claude's thinking on its way through a Responses client and back, byte for byte.

The client returns `encrypted_content` untouched. Claude checks the signature of its thinking, so reasoning without one
that we can restore, another vendor's above all, is dropped.
"""

from typing import Any

from extproc.translate.pair import Json
from extproc.translate.signature import is_ours, seal, unseal

CARRIER = "anthropic"


def sealed(text: str, signature: str) -> str:
    return seal(CARRIER, {"signature": signature}, text)


def sealed_data(data: str) -> str:
    """Of thinking that Anthropic itself hides."""
    return seal(CARRIER, {"data": data})


def sealed_summary(text: str) -> str:
    """Of a conversation that was compacted."""
    return seal(CARRIER, None, text)


def restored(item: Json) -> Json | None:
    """The block a reasoning item was made from."""
    envelope = unseal(item.get("encrypted_content"))
    if envelope is None or envelope.f != CARRIER or not isinstance(envelope.d, dict):
        return None
    if signature := _opaque(envelope.d.get("signature")):
        return {"type": "thinking", "thinking": envelope.t or "", "signature": signature}
    data = _opaque(envelope.d.get("data"))
    return {"type": "redacted_thinking", "data": data} if data else None


def restored_summary(item: Json) -> Json | None:
    envelope = unseal(item.get("encrypted_content"))
    if envelope is None or envelope.f != CARRIER or envelope.d is not None or not envelope.t:
        return None
    return {"type": "compaction", "content": envelope.t}


def _opaque(value: Any) -> str:
    return value if isinstance(value, str) and not is_ours(value) else ""
