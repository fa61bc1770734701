"""Why a Chat answer ended (docs/mapping.md 2.3)."""

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate import openai_errors
from extproc.translate.answer_events import FinishReason
from extproc.wire.chat import Choice

NORMAL = frozenset(("stop", "eos", "eos_token", "end_turn", "complete", "completed", "done"))
_CALLS = ("tool_calls", "function_call", "tool_use")
_FILTERED = (
    "content_filter", "content_filtered", "safety", "sensitive", "recitation", "prohibited_content", "blocklist",
    "spii", "refusal",
)  # fmt: skip
_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys((*NORMAL, *_CALLS), "stop"),
    "stop_sequence": "stop_sequence",
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens"), "length"),
    **dict.fromkeys(("model_length", "context_length", "model_context_window_exceeded"), "context_window"),
    **dict.fromkeys(_FILTERED, "refusal"),
}
_FAILURES: dict[str, Kind] = {
    **dict.fromkeys(("error", "abort", "cancelled", "canceled", "network_error"), Kind.API),
    "insufficient_system_resource": Kind.OVERLOADED,  # DeepSeek
}


def word(finish: str | None) -> str:
    return (finish or "").strip().lower()


def known_reason(finish: str | None) -> FinishReason | None:
    """`stop` also for a word that says calls were made: whether they were, the calls themselves tell."""
    return _REASONS.get(word(finish))


def choice_failure(choice: Choice, profile: Profile) -> Rejection | None:
    """The failure that a choice reports, in a member or by its finish reason."""
    if choice.error:
        return openai_errors.in_answer({"error": choice.error}, profile)
    kind = _FAILURES.get(word(choice.finish_reason))
    if kind is None:
        return None
    return Rejection(
        kind=kind,
        message="the upstream model ended its answer with an error",
        reason=Reason.UPSTREAM,
        detail=f"finish_{word(choice.finish_reason)}",
        status=502 if kind is Kind.API else 0,
    )
