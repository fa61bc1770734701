"""Earlier reasoning as an input item. Only what the upstream itself encrypted means anything to it."""

from extproc.translate.for_messages.turns import Thinking
from extproc.translate.signature import unseal
from extproc.translate.want import Json

CARRIER = "openai_responses"


def item(thought: Thinking) -> Json | None:
    """None for what cannot go back: nothing is stored upstream, so an id alone would name nothing."""
    sealed = unseal(thought.envelope)
    data = sealed.d if sealed is not None and sealed.f == CARRIER else None
    if sealed is None or not isinstance(data, dict):
        return None
    names = {name: data.get(name) for name in ("id", "encrypted_content")}
    if not all(isinstance(value, str) for value in names.values()):
        return None
    text = thought.text if sealed.t is None else sealed.t
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "summary": summary, **names}
