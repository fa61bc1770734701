"""How hard Claude shall think: a level becomes a mode and an effort, or a budget of tokens (docs/mapping.md 4.5)."""

from collections.abc import Sequence

from extproc.providers.profiles import Profile
from extproc.translate.conversation import Conversation
from extproc.translate.dialects.messages.write_messages import MessageTurn
from extproc.translate.provider_request import nearest
from extproc.translate.want import Json
from extproc.translate.warnings import Warnings

BINDING_BETA = "thinking-binding-controls-2026-08-01"
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST = 1024
"""The smallest budget that Anthropic takes, and what is left for the answer."""


class ThinkingWriter:
    def __init__(
        self, conversation: Conversation, profile: Profile, turns: Sequence[MessageTurn], warnings: Warnings
    ) -> None:
        self._thinking = conversation.thinking
        self._level = self._thinking.effort.value if self._thinking.effort is not None else None
        self._names_own_thinking = any(member.name == "thinking" for member in conversation.unmapped)
        self._profile = profile
        self._turns = turns
        self._warnings = warnings

    def write(self, body: Json, *, is_tool_forced: bool) -> None:
        """Writes `thinking` and the effort. `body` has its `max_tokens` already."""
        profile, level = self._profile, self._level
        if profile.thinking == "enabled":
            if level not in (None, "none") and not self._names_own_thinking:
                self._write_budget(body, _BUDGETS[level], is_tool_forced=is_tool_forced)
        elif is_tool_forced and not profile.forced_choice_with_thinking:
            if level not in (None, "none"):
                self._lose("the upstream cannot think when a tool is forced")
            body["thinking"] = {"type": "disabled"}
        elif level == "none" and profile.thinking_always_on:
            self._lose("this model always thinks")
        elif level == "none":
            body["thinking"] = {"type": "disabled"}
        elif level is not None:
            self._write_adaptive(body, level)

    def is_on(self, body: Json) -> bool:
        """Whether thinking of the history may be sent: newer models think by default."""
        thinking = body.get("thinking")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        return kind != "disabled" if self._profile.thinking == "adaptive" else kind in ("enabled", "adaptive")

    def bind(self, body: Json) -> list[str]:
        """Returns the betas that are needed. Thinking is bound to its conversation, which translation may have changed
        since: to the system prompt, the tools and all earlier messages. What no longer fits shall be dropped, or the
        request would be refused. https://platform.claude.com/docs/en/build-with-claude/preserved-thinking"""
        if self._profile.block_binding == "default" or not any(turn.has_thinking for turn in self._turns):
            return []
        thinking = body.setdefault("thinking", {"type": "adaptive"})
        if not isinstance(thinking, dict) or "block_binding" in thinking:
            return []
        body["thinking"] = {**thinking, "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        return [BINDING_BETA]

    def _write_adaptive(self, body: Json, level: str) -> None:
        body["thinking"] = {"type": "adaptive"}
        if self._thinking.shown == "yes" and self._profile.expose_reasoning:
            # Newer models send no text of their thinking by default.
            body["thinking"]["display"] = "summarized"
        allowed = [name for name in self._profile.efforts if name not in ("none", "minimal")]
        if not allowed:
            self._lose("the model has no levels of effort")
            return
        found = nearest(level, allowed)
        if found != level:
            self._warnings.add("clamped", self._path)
        body["output_config"] = {"effort": found}

    def _write_budget(self, body: Json, budget: int, *, is_tool_forced: bool) -> None:
        """Anthropic refuses a budget beside a forced tool, one as large as the answer may be, and one amid calls that
        were made without thinking."""
        room = body["max_tokens"] - _LEAST
        if is_tool_forced:
            self._lose("the model cannot think when a tool is forced")
        elif room < _LEAST:
            self._lose("the limit of tokens leaves no room for thinking")
        elif self._last_calls_lack_thinking():
            self._lose("the last tool calls came without thinking")
        else:
            if budget > room:
                self._warnings.add("clamped", self._path)
            body["thinking"] = {"type": "enabled", "budget_tokens": min(budget, room)}

    def _last_calls_lack_thinking(self) -> bool:
        last = next((turn for turn in reversed(self._turns) if turn.has_calls), None)
        return last is not None and not last.has_thinking

    def _lose(self, problem: str) -> None:
        self._warnings.add("dropped", self._path, problem)

    @property
    def _path(self) -> str:
        effort = self._thinking.effort
        return effort.path if effort is not None else ""
