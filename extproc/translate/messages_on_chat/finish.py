"""Why an answer ended: finish_reason -> stop_reason (mapping 2.3)."""

from typing import Any

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.for_messages.ending import Ending, refused
from extproc.translate.openai_upstream.errors import reported
from extproc.wire.chat import Choice

_NORMAL = ("stop", "eos", "eos_token", "end_turn", "complete", "completed", "done")
_CALLS = ("tool_calls", "function_call", "tool_use")
_FILTERED = (
    "content_filter",
    "content_filtered",
    "safety",
    "sensitive",
    "recitation",
    "prohibited_content",
    "blocklist",
    "spii",
    "refusal",
)
_STOP_REASON: dict[str, str] = {
    **dict.fromkeys((*_NORMAL, *_CALLS), "end_turn"),
    "stop_sequence": "stop_sequence",
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens"), "max_tokens"),
    **dict.fromkeys(
        ("model_length", "context_length", "model_context_window_exceeded"), "model_context_window_exceeded"
    ),
    **dict.fromkeys(_FILTERED, "refusal"),
}
_FAILED: dict[str, Kind] = {
    **dict.fromkeys(("error", "abort", "cancelled", "canceled", "network_error"), Kind.API),
    "insufficient_system_resource": Kind.OVERLOADED,
}


def is_filtered(finish: str | None) -> bool:
    return (finish or "").lower() in _FILTERED


def is_at_limit(finish: str | None) -> bool:
    """The token limit was reached, so a tool call may have been cut short."""
    return _STOP_REASON.get((finish or "").lower()) in {"max_tokens", "model_context_window_exceeded"}


def failed(finish: str | None, message: str = "") -> Rejection | None:
    """The failure a finish reason stands for."""
    kind = _FAILED.get((finish or "").lower())
    if kind is None:
        return None
    return Rejection(
        kind=kind,
        message=message or "the upstream model ended its answer with an error",
        reason=Reason.UPSTREAM,
        detail=f"finish_{(finish or '').lower()}",
        status=502 if kind is Kind.API else 0,
    )


def choice_failure(choice: Choice, profile: Profile) -> Rejection | None:
    if choice.error:
        return reported({"error": choice.error}, profile)
    return failed(choice.finish_reason) if choice.finish_reason else None


def ending(finish: str | None, calls: bool, matched: Any, sequences: tuple[str, ...], refusal: str) -> Ending:
    """`matched`: the stop string by the upstream's own word. `calls`: tool calls reached the client."""
    if refusal:
        return refused(refusal)
    word = (finish or "").strip().lower()
    reason = _STOP_REASON.get(word, "end_turn")
    if reason == "refusal":
        return refused(None)
    warning = "" if word in _STOP_REASON else "unknown_finish_reason" if word else "finish_reason_missing"
    if reason in {"end_turn", "stop_sequence"} and calls:
        return Ending("tool_use", warning=warning)
    named = matched if isinstance(matched, str) and matched in sequences else None
    if named is not None and (reason == "stop_sequence" or word in _NORMAL):
        return Ending("stop_sequence", named)
    return Ending(reason, warning=warning)
