"""Turns as upstream messages, and the prefill rule."""

from extproc.translate.for_messages import pairing
from extproc.translate.for_messages.draft import Draft, Part
from extproc.translate.for_messages.results import Result
from extproc.translate.for_messages.turns import SEAM, AssistantTurn, SystemTurn, Turn, UserTurn
from extproc.translate.messages_on_chat import reasoning
from extproc.translate.messages_on_chat.reasoning import Reasoning
from extproc.translate.want import Json


def system(draft: Draft, parts: list[Part]) -> Json | None:
    """The system message, or None when there is nothing to say."""
    listed = isinstance(draft.body.get("system"), list)
    return {"role": draft.profile.system_role, "content": _content(draft, parts, listed=listed)} if parts else None


def messages(draft: Draft, turns: list[Turn]) -> list[Json]:
    """The upstream's messages, without the system prompt."""
    out: list[Json] = []
    for n, turn in enumerate(turns):
        match turn:
            case SystemTurn():
                out.append({"role": draft.profile.system_role, "content": _content(draft, turn.parts, listed=True)})
            case UserTurn():
                _user(draft, turn, pairing.paired(turns, n), out)
            case AssistantTurn():
                pairing.check_answered(turns, n)
                out.append(_assistant(draft, turn))
    return out


def prefill(draft: Draft, turns: list[Turn], out: list[Json]) -> str:
    """Applies the profile's rule to a conversation that ends with the model's own words; returns an echo to cut."""
    last = turns[-1]
    if draft.counting or not isinstance(last, AssistantTurn):
        return ""
    match draft.profile.prefill:
        case "reject":
            raise pairing.no_prefill()
        case "continue_final":
            draft.upstream["continue_final_message"] = True
            draft.upstream["add_generation_prompt"] = False
        case "prefix":
            out[-1]["prefix"] = True
        case "append_user":
            draft.warnings.add("emulated", "prefill", pairing.NO_PREFILL)
            out.append({"role": "user", "content": "Continue."})
        case "pass":
            return last.text
    return ""


def _content(draft: Draft, parts: list[Part], *, listed: bool) -> str | list[Part]:
    if draft.profile.map_cache_control and listed:
        return parts
    return SEAM.join(part["text"] for part in parts)


def _user(draft: Draft, turn: UserTurn, results: list[Result], out: list[Json]) -> None:
    out += [result.message() for result in results]
    attached = [part for result in results for part in result.attached]
    parts = attached + turn.parts
    if not parts:
        return
    if attached or not turn.plain:
        out.append({"role": "user", "content": parts})
    else:
        out.append({"role": "user", "content": _content(draft, parts, listed=turn.listed)})


def _assistant(draft: Draft, turn: AssistantTurn) -> Json:
    keep = draft.profile.map_cache_control and turn.listed and turn.parts
    message: Json = {"role": "assistant", "content": turn.parts if keep else turn.text or None}
    thought = reasoning.of(draft, turn)
    if turn.calls:
        message["tool_calls"] = [_call(draft, thought, call) for call in turn.calls]
    reasoning.write(draft, message, thought)
    return message


def _call(draft: Draft, thought: Reasoning, call: Json) -> Json:
    sent = {**call, "id": draft.history_id(call["id"])}
    if extra := reasoning.extra_content(thought, call["id"]):
        sent["extra_content"] = extra
    return sent
