"""Reasoning in thinking blocks: how it travels through a Messages client and back (docs/mapping.md 2.4)."""

from extproc.translate import want
from extproc.translate.conversation import Reasoning
from extproc.translate.signature import is_ours, unseal
from extproc.translate.want import Json

ANTHROPIC = "anthropic"


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
