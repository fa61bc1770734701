"""Earlier reasoning on its way back to the upstream it came from."""

from typing import Any

from extproc.translate.for_messages.draft import Draft
from extproc.translate.for_messages.turns import AssistantTurn, Thinking
from extproc.translate.names import client_id
from extproc.translate.signature import is_ours, unseal
from extproc.translate.want import Json

_TEXT_MEMBER = {"reasoning_content": "reasoning_content", "reasoning": "reasoning", "reasoning_details": "reasoning"}


class Reasoning:
    """What the thinking blocks of one assistant turn hold."""

    __slots__ = ("details", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[list[str]] = []
        """The pieces of each message."""
        self.details: list[Any] = []
        self.thoughts: dict[str, Any] = {}
        """Gemini's signature of each call, by the client's id of the call."""

    @property
    def text(self) -> str:
        return "\n\n".join(said for pieces in self.texts if (said := "".join(pieces)))


def of(draft: Draft, turn: AssistantTurn) -> Reasoning:
    """Only what we sealed means anything to an upstream of ours."""
    found = Reasoning()
    if draft.profile.reasoning_history == "none":
        return found
    for message in turn.messages:
        found.texts.append([])
        for thought in message:
            if isinstance(thought, Thinking):
                _read(draft, thought, found)
    return found


def _read(draft: Draft, thought: Thinking, into: Reasoning) -> None:
    if is_ours(thought.envelope):
        _open(thought, into)
    elif draft.profile.foreign_thinking == "text":
        into.texts[-1].append(thought.text)


def _open(thought: Thinking, into: Reasoning) -> None:
    sealed = unseal(thought.envelope)
    if sealed is None:
        return
    into.texts[-1].append(thought.text if sealed.t is None else sealed.t)
    if sealed.f == "reasoning_details" and isinstance(sealed.d, list):
        into.details += sealed.d
    if sealed.f == "gemini_thought_signature" and isinstance(sealed.d, dict):
        into.thoughts |= sealed.d | {client_id(key): value for key, value in sealed.d.items()}


def write(draft: Draft, message: Json, reasoning: Reasoning) -> None:
    """Adds the members the upstream wants its own reasoning in; gemini's goes with the calls."""
    history = draft.profile.reasoning_history
    if history == "none":
        return
    text = reasoning.text
    if history == "reasoning_details" and reasoning.details:
        message["reasoning_details"] = reasoning.details
    elif history == "mistral_thinking" and text:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        message["content"] = [thought, *parts]
    elif history in _TEXT_MEMBER and text:
        message[_TEXT_MEMBER[history]] = text
    elif history == "reasoning_content" and "tool_calls" in message:
        # DeepSeek answers 400 when a turn with calls lacks the member.
        message["reasoning_content"] = ""


def extra_content(reasoning: Reasoning, id: str) -> Json | None:
    """Gemini refuses the next step of a tool loop without the signature on the call it came with."""
    thought = reasoning.thoughts.get(id)
    return None if thought is None else {"google": {"thought_signature": thought}}
