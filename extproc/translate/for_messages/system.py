"""The system prompt: the client's, what was hoisted from the conversation, and what the operator adds."""

from typing import Any

from extproc.translate import want
from extproc.translate.for_messages.draft import Draft, Part

BILLING = "x-anthropic-billing-header:"
_TEXT = frozenset(("type", "text", "cache_control", "citations"))


def parts(draft: Draft, extra: tuple[str, ...] = ()) -> list[Part]:
    """Its texts; none when there is nothing to say."""
    said = _client_parts(draft)
    more = (*draft.hoisted, *draft.tool_notes, draft.profile.system_suffix, *extra)
    said += [{"type": "text", "text": text} for text in more if text]
    return [] if all(part["text"].isspace() for part in said) else said


def _client_parts(draft: Draft) -> list[Part]:
    system = draft.body.get("system")
    if system is None:
        return []
    if isinstance(system, str):
        return [{"type": "text", "text": system}] if system else []
    blocks = want.sequence(draft.body, "system", "")
    return [part for n, block in enumerate(blocks) if (part := text_part(draft, block, f"system.{n}"))]


def text_part(draft: Draft, block: Any, path: str) -> Part | None:
    """A text block of a system prompt or turn; None when nothing of it travels."""
    block = want.item(block, path)
    want.one_of(want.text(block, "type", path), ("text",), f"{path}.type")
    text = want.text(block, "text", path)
    draft.warnings.unknown(block, _TEXT, path)
    # Claude Code puts a line there that differs per request: elsewhere it only spoils prefix caches.
    if not text or (draft.profile.strip_billing_header and text.startswith(BILLING)):
        return None
    return draft.mark_cached({"type": "text", "text": text}, block)
