"""Why an answer ended: stop_reason -> finish_reason (mapping 4.6)."""

from typing import NamedTuple

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "stop",
    "compaction": "stop",
    "refusal": "content_filter",
}
# There is no going on from these for a Chat client.
_APPROXIMATE = ("pause_turn", "compaction")


class Finish(NamedTuple):
    reason: str
    warning: str = ""


def finish(stop_reason: str | None, *, calls: bool, legacy: bool) -> Finish:
    known = _REASONS.get(stop_reason or "")
    reason = known or ("tool_calls" if calls else "stop")
    if reason == "tool_calls" and legacy:
        reason = "function_call"
    if known is None:
        return Finish(reason, "unknown_finish_reason" if stop_reason else "finish_reason_missing")
    return Finish(reason, "approx:stop_reason" if stop_reason in _APPROXIMATE else "")
