"""How hard the model shall think: one wanted level from several members, spelled as the upstream spells it."""

from typing import Any, NamedTuple

from extproc.translate import want
from extproc.translate.messages_on_chat.asked import ShowThinking
from extproc.translate.messages_on_chat.draft import Draft
from extproc.translate.want import Json

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
_DISPLAYS = ("summarized", "omitted", "updates")
_BANDS = ((4096, "low"), (16384, "medium"), (32768, "high"))
_KNOWN = frozenset(("type", "budget_tokens", "display", "block_binding"))


class Wanted(NamedTuple):
    """What the client asked for, and by which member."""

    path: str
    level: str | None
    """None: to think, without saying how much."""
    budget: int | None = None
    by_word: bool = False
    """The level is the client's own word, not derived."""


def apply(draft: Draft, *, with_tools: bool) -> str | None:
    """Writes the members that steer thinking; returns the effort sent, if one is."""
    thinking = want.optional_mapping(draft.body, "thinking", "")
    wanted = _wanted(draft, thinking)
    profile = draft.profile
    if profile.chat_tools_force_effort_none and with_tools:
        return _force_none(draft, wanted)
    if wanted is None:
        return None
    return _EMIT[profile.reasoning_style](draft, wanted)


def show_thinking(draft: Draft) -> ShowThinking:
    """Whether the answer's reasoning goes to the client."""
    if draft.profile.emit_thinking != "auto":
        return "yes" if draft.profile.emit_thinking == "always" else "no"
    thinking = draft.body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return "no"
    return "omitted" if thinking.get("display") == "omitted" else "yes"


def _wanted(draft: Draft, thinking: Json) -> Wanted | None:
    kind = _check(draft, thinking)
    effort = draft.effort or read_effort(draft.body, "")
    if kind in ("disabled", "between_tools"):
        if effort:
            draft.warnings.add("dropped", effort[1], f"thinking.type is {kind}")
        return Wanted("thinking", "none")
    if effort:
        return Wanted(effort[1], effort[0], by_word=True)
    if kind == "enabled":
        budget = want.integer(thinking, "budget_tokens", "thinking.enabled")
        return Wanted("thinking.budget_tokens", _band(budget), budget)
    return Wanted("thinking", draft.profile.adaptive_effort) if kind == "adaptive" else None


def _check(draft: Draft, thinking: Json) -> str | None:
    if draft.body.get("thinking") is None:
        return None
    kind = want.one_of(want.text(thinking, "type", "thinking"), _TYPES, "thinking.type")
    display = want.optional_text(thinking, "display", "thinking")
    if display is not None:
        want.one_of(display, _DISPLAYS, "thinking.display")
    if kind == "enabled":
        want.integer(thinking, "budget_tokens", "thinking.enabled")
    draft.warnings.unknown(thinking, _KNOWN, "thinking")
    return kind


def read_effort(holder: Json, path: str) -> tuple[str, str] | None:
    """The effort in `output_config` of the request or of a message, with its path."""
    config = want.optional_mapping(holder, "output_config", path)
    where = f"{path}.output_config" if path else "output_config"
    effort = want.optional_text(config, "effort", where)
    return None if effort is None else (want.one_of(effort, EFFORTS, f"{where}.effort"), f"{where}.effort")


def _band(budget: int) -> str:
    return next((level for limit, level in _BANDS if budget < limit), "xhigh")


def _force_none(draft: Draft, wanted: Wanted | None) -> str:
    """gpt-5.4 and later refuse function tools on this path unless the effort is `none`, also by default."""
    if wanted is not None and wanted.level != "none":
        draft.warnings.add("clamped", wanted.path)
    draft.upstream["reasoning_effort"] = "none"
    return "none"


def _clamp(draft: Draft, wanted: Wanted) -> str | None:
    """The nearest level the profile has: downwards, else upwards."""
    level, allowed = wanted.level, draft.profile.efforts
    if level is None:
        return None
    if not allowed:
        if wanted.by_word:
            draft.warnings.add("dropped", wanted.path)
        return None
    if level in allowed:
        return level
    rank = LEVELS.index(level)
    ranked = sorted(LEVELS.index(name) for name in allowed)
    nearest = max((n for n in ranked if n < rank), default=ranked[0])
    draft.warnings.add("clamped", wanted.path)
    return LEVELS[nearest]


def _plain(draft: Draft, wanted: Wanted) -> str | None:
    level = _clamp(draft, wanted)
    if level is not None:
        draft.upstream["reasoning_effort"] = level
    return level


def _openrouter(draft: Draft, wanted: Wanted) -> str | None:
    if not draft.profile.efforts:
        return _clamp(draft, wanted)
    reasoning: dict[str, Any]
    level = None
    if wanted.level == "none":
        reasoning, level = {"enabled": False}, "none"
    elif wanted.budget is not None:
        reasoning = {"max_tokens": wanted.budget}
    else:
        level = _clamp(draft, wanted)
        reasoning = {"enabled": True} if level is None else {"effort": level}
    if show_thinking(draft) == "omitted" and draft.profile.reasoning_history == "none":
        reasoning["exclude"] = True
    draft.upstream["reasoning"] = reasoning
    return level


def _deepseek(draft: Draft, wanted: Wanted) -> str | None:
    level = "none" if wanted.level == "none" else _clamp(draft, wanted)
    draft.upstream["thinking"] = {"type": "disabled" if level == "none" else "enabled"}
    if level not in (None, "none"):
        draft.upstream["reasoning_effort"] = level
    return level


def _template(draft: Draft, wanted: Wanted) -> str | None:
    """A chat template knows on and off only."""
    draft.upstream["chat_template_kwargs"] = {draft.profile.template_switch: wanted.level != "none"}
    if wanted.by_word:
        draft.warnings.add("approx", wanted.path)
    return "none" if wanted.level == "none" else None


_EMIT = {"effort": _plain, "openrouter": _openrouter, "deepseek": _deepseek, "template": _template}
