"""The system prompt: leading instructions, those hoisted from the conversation, and what the operator adds."""

from extproc.translate.on_messages.draft import Draft

# As Anthropic's own OpenAI layer joins them.
_SEAM = "\n"


def apply(draft: Draft) -> None:
    blocks = [block for _, block in draft.system]
    if suffix := draft.profile.system_suffix:
        blocks.append({"type": "text", "text": suffix})
    if any("cache_control" in block for block in blocks):
        draft.upstream["system"] = blocks
    elif blocks:
        draft.upstream["system"] = _SEAM.join(block["text"] for block in blocks)


def say(draft: Draft, text: str) -> None:
    """Adds a sentence of ours."""
    draft.system.append(("", {"type": "text", "text": text}))
