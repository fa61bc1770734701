"""How hard the model shall think, spelled as Chat upstreams spell it."""

from typing import Any

from extproc.translate.for_messages import effort
from extproc.translate.for_messages.draft import Draft
from extproc.translate.for_messages.effort import Wanted, clamped, show_thinking
from extproc.translate.openai_request import check_tools_of_chat


def apply(draft: Draft, *, with_tools: bool) -> str | None:
    """Writes the members that steer thinking; returns the effort sent, if one is."""
    wanted = effort.wanted(draft)
    profile = draft.profile
    if with_tools:
        check_tools_of_chat(profile)
    if profile.chat_tools_force_effort_none and with_tools:
        return _force_none(draft, wanted)
    if wanted is None:
        return None
    return _EMIT[profile.reasoning_style](draft, wanted)


def _force_none(draft: Draft, wanted: Wanted | None) -> str:
    """gpt-5.4 and later refuse function tools on this path unless the effort is `none`, also by default."""
    if wanted is not None and wanted.level != "none":
        draft.warnings.add("clamped", wanted.path)
    draft.upstream["reasoning_effort"] = "none"
    return "none"


def _plain(draft: Draft, wanted: Wanted) -> str | None:
    level = clamped(draft, wanted)
    if level is not None:
        draft.upstream["reasoning_effort"] = level
    return level


def _openrouter(draft: Draft, wanted: Wanted) -> str | None:
    if not draft.profile.efforts:
        return clamped(draft, wanted)
    reasoning: dict[str, Any]
    level = None
    if wanted.level == "none":
        reasoning, level = {"enabled": False}, "none"
    elif wanted.budget is not None:
        reasoning = {"max_tokens": wanted.budget}
    else:
        level = clamped(draft, wanted)
        reasoning = {"enabled": True} if level is None else {"effort": level}
    if show_thinking(draft) == "omitted" and draft.profile.reasoning_history == "none":
        reasoning["exclude"] = True
    draft.upstream["reasoning"] = reasoning
    return level


def _deepseek(draft: Draft, wanted: Wanted) -> str | None:
    level = "none" if wanted.level == "none" else clamped(draft, wanted)
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
