"""How hard the model shall think: one word of OpenAI's becomes a mode and an effort, or a budget (mapping 4.5)."""

from typing import NamedTuple

from extproc.translate import want
from extproc.translate.levels import LEVELS, nearest
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST = 1024
"""The smallest budget Anthropic takes, and what we leave for the answer."""


_BINDING = "thinking-binding-controls-2026-08-01"


class Wanted(NamedTuple):
    """What the client says of thinking."""

    level: str | None
    path: str
    shown: bool
    """It wants to read the thoughts."""


def wanted(holder: Json, key: str, path: str, *, shown: bool) -> Wanted:
    level = want.optional_text(holder, key, path)
    where = f"{path}.{key}" if path else key
    if level is not None:
        want.one_of(level, LEVELS, where)
    return Wanted(level, where, shown)


def apply(draft: Draft, turns: list[Turn], asked: Wanted, *, forced: bool) -> None:
    if draft.profile.thinking == "enabled":
        if asked.level not in (None, "none") and draft.body.get("thinking") is None:
            _budget(draft, turns, asked, _BUDGETS[asked.level], forced=forced)
    elif forced and not draft.profile.forced_choice_with_thinking:
        _disable(draft, asked)
    elif asked.level is not None:
        _adaptive(draft, asked, asked.level)


def thinks(draft: Draft) -> bool:
    """Whether thinking of the history may be sent: newer models think without being asked."""
    thinking = draft.upstream.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return kind != "disabled" if draft.profile.thinking == "adaptive" else kind in ("enabled", "adaptive")


def bind(draft: Draft, turns: list[Turn], *, thinks: bool) -> None:
    """Thinking is bound to its conversation, which translation may have changed since: to the system prompt, the tools
    and all earlier messages. What no longer fits shall be dropped, or the request would be refused.
    https://platform.claude.com/docs/en/build-with-claude/preserved-thinking"""
    if draft.profile.block_binding == "default" or not thinks or not any(turn.has_thinking() for turn in turns):
        return
    thinking = draft.upstream.setdefault("thinking", {"type": "adaptive"})
    if isinstance(thinking, dict) and "block_binding" not in thinking:
        draft.upstream["thinking"] = {**thinking, "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        draft.betas.append(_BINDING)


def _lose(draft: Draft, asked: Wanted, problem: str) -> None:
    draft.warnings.add("dropped", asked.path, problem)


def _disable(draft: Draft, asked: Wanted) -> None:
    if asked.level not in (None, "none"):
        _lose(draft, asked, "the upstream cannot think when a tool is forced")
    draft.upstream["thinking"] = {"type": "disabled"}


def _adaptive(draft: Draft, asked: Wanted, level: str) -> None:
    if level == "none" and draft.profile.thinking_always_on:
        _lose(draft, asked, "this model always thinks")
    elif level == "none":
        draft.upstream["thinking"] = {"type": "disabled"}
    else:
        thinking: Json = {"type": "adaptive"}
        # Newer models keep the text to themselves unless asked.
        shown: Json = {"display": "summarized"} if asked.shown and draft.profile.expose_reasoning else {}
        draft.upstream["thinking"] = {**thinking, **shown}
        if effort := _clamped(draft, asked, level):
            draft.upstream["output_config"] = {"effort": effort}


def _clamped(draft: Draft, asked: Wanted, level: str) -> str | None:
    """The nearest level the model has: downwards, else upwards."""
    allowed = [name for name in draft.profile.efforts if name not in ("none", "minimal")]
    if not allowed:
        _lose(draft, asked, "the model has no levels of effort")
        return None
    found = nearest(level, allowed)
    if found != level:
        draft.warnings.add("clamped", asked.path)
    return found


def _budget(draft: Draft, turns: list[Turn], asked: Wanted, budget: int, *, forced: bool) -> None:
    """The cases in which Anthropic refuses a budget: beside a forced tool, as large as the answer may be, and amid
    calls that were made without thinking."""
    room = draft.upstream["max_tokens"] - _LEAST
    if forced:
        _lose(draft, asked, "the model cannot think when a tool is forced")
    elif room < _LEAST:
        _lose(draft, asked, "the limit of tokens leaves no room for thinking")
    elif _last_calls_lack_thinking(turns):
        _lose(draft, asked, "the last tool calls came without thinking")
    else:
        if budget > room:
            draft.warnings.add("clamped", asked.path)
        draft.upstream["thinking"] = {"type": "enabled", "budget_tokens": min(budget, room)}


def _last_calls_lack_thinking(turns: list[Turn]) -> bool:
    last = next((turn for turn in reversed(turns) if turn.has_calls()), None)
    return last is not None and not last.has_thinking()
