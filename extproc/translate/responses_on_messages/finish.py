"""Why an answer ended: stop_reason -> status and what is incomplete (mapping 6.5)."""

from typing import NamedTuple

COMPLETED, INCOMPLETE = "completed", "incomplete"
_LENGTH, _FILTER = "max_output_tokens", "content_filter"
_REASONS = {
    "end_turn": "",
    "stop_sequence": "",
    "tool_use": "",
    "pause_turn": "",
    "compaction": "",
    "max_tokens": _LENGTH,
    "model_context_window_exceeded": _LENGTH,
    "refusal": _FILTER,
}
# There is no going on from these for an OpenAI client.
_APPROXIMATE = ("pause_turn", "compaction")


class Finish(NamedTuple):
    incomplete: str
    """Empty: it is complete."""
    warning: str = ""


def finish(stop_reason: str | None) -> Finish:
    known = _REASONS.get(stop_reason or "")
    if known is None:
        return Finish("", "unknown_finish_reason" if stop_reason else "finish_reason_missing")
    return Finish(known, "approx:stop_reason" if stop_reason in _APPROXIMATE else "")
