"""What the upstream has encrypted, on its way back: reasoning, and what stands for a compacted conversation.

Nothing is stored upstream, so an id alone would name nothing there.
"""

from extproc.translate.for_messages.turns import Thinking
from extproc.translate.signature import Sealed, unseal
from extproc.translate.want import Json

CARRIER = "openai_responses"
_MEMBERS = ("id", "encrypted_content")


def item(thought: Thinking) -> Json | None:
    """None for the reasoning of others, and for what was not encrypted."""
    sealed = unseal(thought.envelope)
    members = _members(sealed)
    if sealed is None or members is None:
        return None
    text = thought.text if sealed.t is None else sealed.t
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}] if text else [], **members}


def compaction(envelope: object) -> Json | None:
    members = _members(unseal(envelope))
    return members and {"type": "compaction", **members}


def _members(sealed: Sealed | None) -> Json | None:
    data = sealed.d if sealed is not None and sealed.f == CARRIER else None
    if not isinstance(data, dict):
        return None
    members = {name: data.get(name) for name in _MEMBERS}
    return members if all(isinstance(value, str) for value in members.values()) else None
