"""The system prompt: the client's, what was hoisted from the conversation, and what the operator adds."""

from typing import Any

from extproc.translate import want
from extproc.translate.messages_on_chat.draft import Draft, Part
from extproc.translate.want import Json

BILLING = "x-anthropic-billing-header:"
_TEXT = frozenset(("type", "text", "cache_control", "citations"))


def message(draft: Draft, extra: tuple[str, ...] = ()) -> Json | None:
    """The system message, or None when there is nothing to say."""
    parts = _client_parts(draft)
    parts += [{"type": "text", "text": text} for text in (*draft.hoisted, draft.profile.system_suffix, *extra) if text]
    if not any(not part["text"].isspace() for part in parts):
        return None
    return {"role": draft.profile.system_role, "content": _content(draft, parts)}


def _content(draft: Draft, parts: list[Part]) -> str | list[Part]:
    if draft.profile.map_cache_control and isinstance(draft.body.get("system"), list):
        return parts
    return "\n\n".join(part["text"] for part in parts)


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
