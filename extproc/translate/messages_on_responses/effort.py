"""How hard the model shall think, and whether it tells what it thought."""

from extproc.translate.for_messages import effort
from extproc.translate.for_messages.draft import Draft
from extproc.translate.want import Json


def apply(draft: Draft) -> str | None:
    """Writes `reasoning`; returns the effort sent, if one is."""
    wanted = effort.wanted(draft)
    level = effort.clamped(draft, wanted) if wanted else None
    reasoning: Json = {"effort": level} if level else {}
    # A model that does not reason refuses the member, whatever is in it.
    if level != "none" and draft.profile.efforts and effort.show_thinking(draft) == "yes":
        reasoning["summary"] = "auto"
    if reasoning:
        draft.upstream["reasoning"] = reasoning
    return level
