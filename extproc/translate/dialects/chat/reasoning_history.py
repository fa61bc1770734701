"""Earlier reasoning on its way back to the Chat provider that it came from (docs/mapping.md 2.4)."""

from typing import Any

from extproc.providers.profiles import Profile
from extproc.translate.conversation import Reasoning
from extproc.translate.names import client_id
from extproc.translate.want import Json

DETAILS, GEMINI, MISTRAL = "reasoning_details", "gemini_thought_signature", "mistral_thinking"
_CARRIERS = frozenset(("reasoning_content", "reasoning", DETAILS, GEMINI, MISTRAL))
_TEXT_MEMBER = {"reasoning_content": "reasoning_content", "reasoning": "reasoning", DETAILS: "reasoning"}


class ReasoningHistory:
    """Collects the reasoning of one assistant message."""

    def __init__(self, profile: Profile) -> None:
        self._history = profile.reasoning_history
        self._takes_foreign = profile.foreign_thinking == "text"
        self._texts: list[list[str]] = []
        """The pieces of each turn."""
        self._details: list[Any] = []
        self._signatures: dict[str, Any] = {}
        """Gemini's, by the client's id of the call."""

    def next_turn(self) -> None:
        self._texts.append([])

    def add(self, reasoning: Reasoning) -> None:
        """Reasoning of another vendor's means nothing here, except as text where the profile says so."""
        if self._history == "none":
            return
        if reasoning.carrier not in _CARRIERS and not self._takes_foreign:
            return
        self._texts[-1].append(reasoning.text)
        if reasoning.carrier == DETAILS and isinstance(reasoning.data, list):
            self._details += reasoning.data
        if reasoning.carrier == GEMINI and isinstance(reasoning.data, dict):
            self._signatures |= reasoning.data
            self._signatures |= {client_id(key): value for key, value in reasoning.data.items()}

    def call_extra(self, call_id: str) -> Json | None:
        """Gemini refuses the next step of a tool loop without the signature on the call that it came with."""
        signature = self._signatures.get(call_id)
        return None if signature is None else {"google": {"thought_signature": signature}}

    def write(self, message: Json) -> None:
        """Adds the member in which the provider wants its own reasoning."""
        if self._history == "none":
            return
        text = "\n\n".join(joined for pieces in self._texts if (joined := "".join(pieces)))
        if self._history == DETAILS and self._details:
            message[DETAILS] = self._details
        elif self._history == MISTRAL and text:
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            message["content"] = [thought, *parts]
        elif self._history in _TEXT_MEMBER and text:
            message[_TEXT_MEMBER[self._history]] = text
        elif self._history == "reasoning_content" and "tool_calls" in message:
            # DeepSeek answers 400 when a turn with calls lacks the member.
            message["reasoning_content"] = ""
