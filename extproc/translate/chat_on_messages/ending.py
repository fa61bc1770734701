"""Both ends of a conversation: Anthropic wants a user's words first and last (mapping 4.2)."""

from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.chat_on_messages.turns import Turn
from extproc.translate.pair import Json
from extproc.translate.want import refused, unsupported

_START, _GO_ON = "(conversation start)", "Continue."


def close(draft: Draft, turns: list[Turn]) -> list[Turn]:
    if not turns:
        return [_from_system(draft)]
    if turns[0].role != "user":
        draft.warnings.add("emulated", "messages.0", "the first message must be a user's")
        turns.insert(0, Turn("user", -1, [_text(_START)]))
    if turns[-1].role == "assistant":
        _trim(turns[-1])
        _prefill(draft, turns)
    return turns


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _from_system(draft: Draft) -> Turn:
    """Instructions alone: the last of them is what the model is asked."""
    if not draft.system:
        raise refused("messages", "at least one message with content is required")
    index = draft.system[-1][0]
    draft.warnings.add("approx", f"messages.{index}", "at least one user message is required")
    blocks = [block for n, block in draft.system if n == index]
    draft.system = [(n, block) for n, block in draft.system if n != index]
    return Turn("user", index, blocks)


def _trim(turn: Turn) -> None:
    """Anthropic refuses white space at the end of the model's own words."""
    last = turn.blocks[-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()


def _prefill(draft: Draft, turns: list[Turn]) -> None:
    match draft.profile.prefill:
        case "append_user":
            draft.warnings.add("emulated", "prefill", "the conversation must end with a user message")
            turns.append(Turn("user", -1, [_text(_GO_ON)]))
        case "reject":
            where = f"messages.{turns[-1].index}"
            raise unsupported(where, "the conversation must end with a user message; this model continues no answer")
        case "pass" | "prefix" | "continue_final":
            return
