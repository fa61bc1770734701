"""Both ends of a conversation: Anthropic wants a user's words first and last (mapping 4.2)."""

from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json
from extproc.translate.want import refused, unsupported

_START, _GO_ON = "(conversation start)", "Continue."


def close(draft: Draft, turns: list[Turn], messages: str) -> list[Turn]:
    """`messages`: the client's name for its list of them."""
    if not turns:
        return [_from_system(draft, messages)]
    if turns[0].role != "user":
        draft.warnings.add("emulated", f"{messages}.0", "the first message must be a user's")
        turns.insert(0, Turn("user", "", [_text(_START)]))
    if turns[-1].role == "assistant":
        _trim(turns[-1])
        _prefill(draft, turns)
    return turns


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _from_system(draft: Draft, messages: str) -> Turn:
    """Instructions alone: the last of them is what the model is asked."""
    if not draft.system:
        raise refused(messages, "at least one message with content is required")
    last = draft.system[-1][0]
    draft.warnings.add("approx", last, "at least one user message is required")
    blocks = [block for path, block in draft.system if path == last]
    draft.system = [(path, block) for path, block in draft.system if path != last]
    return Turn("user", last, blocks)


def _trim(turn: Turn) -> None:
    """Anthropic refuses white space at the end of the model's own words."""
    last = turn.blocks[-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()


def _prefill(draft: Draft, turns: list[Turn]) -> None:
    match draft.profile.prefill:
        case "append_user":
            draft.warnings.add("emulated", "prefill", "the conversation must end with a user message")
            turns.append(Turn("user", "", [_text(_GO_ON)]))
        case "reject":
            problem = "the conversation must end with a user message; this model continues no answer"
            raise unsupported(turns[-1].path, problem)
        case "pass" | "prefix" | "continue_final":
            return
