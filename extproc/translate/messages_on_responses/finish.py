"""Why an answer ended: its status -> stop_reason (mapping 6.3)."""

from extproc.translate.for_messages.ending import Ending, refused
from extproc.wire.responses import Response

_LIMIT, _FILTER = "max_output_tokens", "content_filter"


def is_at_limit(response: Response, status: str) -> bool:
    """The token limit was reached, so a tool call may have been cut short."""
    return status == "incomplete" and _reason(response) == _LIMIT


def ending(response: Response, status: str, calls: bool, refusal: str, stopped: str | None) -> Ending:
    """`calls`: tool calls reached the client. `stopped`: the stop sequence found in the text."""
    if stopped is not None:
        return Ending("stop_sequence", stopped)
    if status == "incomplete":
        return _incomplete(_reason(response), calls, refusal)
    if calls:
        return Ending("tool_use")
    return refused(refusal) if refusal else Ending("end_turn")


def _incomplete(reason: str, calls: bool, refusal: str) -> Ending:
    if reason == _LIMIT:
        return Ending("max_tokens")
    if reason == _FILTER:
        return refused(refusal or None)
    warning = "unknown_finish_reason" if reason else "finish_reason_missing"
    return Ending("tool_use" if calls else "end_turn", warning=warning)


def _reason(response: Response) -> str:
    return (response.incomplete_details.reason if response.incomplete_details else None) or ""
