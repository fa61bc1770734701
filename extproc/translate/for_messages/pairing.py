"""Calls and their results: each call has one, in the turn behind it (mapping 1.4.2); and who speaks last (1.4.3)."""

from extproc.translate.for_messages.results import Result
from extproc.translate.for_messages.turns import AssistantTurn, Turn, UserTurn
from extproc.translate.want import refused

NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."


def no_prefill() -> Exception:
    return refused("", NO_PREFILL, code="unsupported_value")


def check_answered(turns: list[Turn], n: int) -> None:
    """Raises Refused where an assistant turn calls, and no user turn follows that could answer."""
    turn = turns[n]
    following = turns[n + 1] if n + 1 < len(turns) else None
    if isinstance(turn, AssistantTurn) and turn.calls and not isinstance(following, UserTurn):
        raise _unanswered(turn, [call["id"] for call in turn.calls])


def paired(turns: list[Turn], n: int) -> list[Result]:
    """The results in a user turn, in the order of the calls they answer, each exactly once."""
    before, turn = turns[n - 1] if n else None, turns[n]
    calls = before.calls if isinstance(before, AssistantTurn) else []
    by_id: dict[str, Result] = {}
    known = {call["id"] for call in calls}
    for result in turn.results if isinstance(turn, UserTurn) else ():
        if result.id not in known:
            raise refused(
                result.path,
                f"unexpected `tool_use_id` found in `tool_result` blocks: {result.id}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
            )
        if result.id in by_id:
            raise refused(result.path, f"each tool_use must have a single result. Found multiple: {result.id}")
        by_id[result.id] = result
    if len(known) != len(calls):
        raise refused("messages", "`tool_use` ids must be unique")
    if isinstance(before, AssistantTurn) and len(by_id) != len(known):
        raise _unanswered(before, [call["id"] for call in calls if call["id"] not in by_id])
    return [by_id[call["id"]] for call in calls]


def _unanswered(turn: AssistantTurn, ids: list[str]) -> Exception:
    # The client recognises this sentence.
    return refused(
        turn.path,
        f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}. Each `tool_use` "
        "block must have a corresponding `tool_result` block in the next message.",
    )
