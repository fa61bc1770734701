"""Reasoning in thinking blocks: how it travels through a Messages client and back (docs/mapping.md 2.4), and how
Claude's own comes back to Claude (4.3)."""

from collections.abc import Iterator

from extproc.translate import want
from extproc.translate.conversation import ANTHROPIC, Reasoning
from extproc.translate.signature import is_ours, unseal
from extproc.translate.want import Json


def read_thinking(block: Json, path: str) -> Reasoning | None:
    """A `thinking` or `redacted_thinking` block; None for an envelope of ours that cannot be read."""
    if block["type"] == "redacted_thinking":
        text, member, envelope = "", "data", want.text(block, "data", path)
    else:
        text = want.text(block, "thinking", path)
        member, envelope = "signature", want.optional_text(block, "signature", path) or ""
    if not is_ours(envelope):
        return Reasoning(ANTHROPIC, text, {member: envelope}, path)
    sealed = unseal(envelope)
    if sealed is None:
        return None
    return Reasoning(sealed.f, text if sealed.t is None else sealed.t, sealed.d, path, is_ours=True)


def write_thinking(part: Reasoning) -> Iterator[Json]:
    """Claude checks the signature of its thinking, so that only what Claude made is sent back."""
    data = part.data if part.carrier == ANTHROPIC and isinstance(part.data, dict) else {}
    if signature := _opaque(data.get("signature")):
        yield {"type": "thinking", "thinking": part.text, "signature": signature}
    elif hidden := _opaque(data.get("data")):
        yield {"type": "redacted_thinking", "data": hidden}


def _opaque(value: object) -> str:
    return value if isinstance(value, str) and not is_ours(value) else ""
