"""How an answer ends, in a Messages client's words."""

import msgspec

from extproc.translate.pair import Json


class Ending(msgspec.Struct, frozen=True):
    """The members of `message_delta.delta`, and what there was to remark."""

    stop_reason: str
    stop_sequence: str | None = None
    stop_details: Json | None = None
    warning: str = ""

    def members(self) -> Json:
        members: Json = {"stop_reason": self.stop_reason, "stop_sequence": self.stop_sequence}
        return members if self.stop_details is None else {**members, "stop_details": self.stop_details}


def without_tools(ending: Ending) -> Ending:
    """The end of an answer with a call that was cut: clients run no tools after it (mapping 2.3)."""
    if ending.stop_reason in {"tool_use", "end_turn", "stop_sequence"}:
        return Ending("max_tokens", warning=ending.warning)
    return ending


def refused(explanation: str | None, category: str | None = None) -> Ending:
    return Ending("refusal", stop_details={"type": "refusal", "category": category, "explanation": explanation})
