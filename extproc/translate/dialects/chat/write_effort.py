"""How hard the model shall think, as the servers of the Chat dialect spell it (docs/mapping.md 1.9)."""

from collections.abc import Callable

from extproc.providers.profiles import Profile
from extproc.translate.conversation import Thinking
from extproc.translate.openai_request import check_tools_of_chat, clamped_effort
from extproc.translate.want import Json
from extproc.translate.warnings import Warnings

_Writer = Callable[[Json, Thinking, Profile, Warnings], str | None]


def write_effort(
    body: Json, thinking: Thinking, profile: Profile, warnings: Warnings, *, with_tools: bool
) -> str | None:
    """Returns the effort that was sent, or None."""
    if with_tools:
        check_tools_of_chat(profile)
    if profile.chat_tools_force_effort_none and with_tools:
        return _force_none(body, thinking, warnings)
    if thinking.effort is None and thinking.budget is None:
        return None
    return _STYLES[profile.reasoning_style](body, thinking, profile, warnings)


def _force_none(body: Json, thinking: Thinking, warnings: Warnings) -> str:
    """gpt-5.4 and later refuse function tools here unless the effort is `none`, also where none is named."""
    if thinking.effort is not None and thinking.effort.value != "none":
        warnings.add("clamped", thinking.effort.path)
    body["reasoning_effort"] = "none"
    return "none"


def _plain(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    level = clamped_effort(thinking, profile, warnings)
    if level is not None:
        body["reasoning_effort"] = level
    return level


def _openrouter(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    if not profile.efforts:
        return clamped_effort(thinking, profile, warnings)
    reasoning: Json
    level = None
    if _is_off(thinking):
        reasoning, level = {"enabled": False}, "none"
    elif thinking.budget is not None:
        reasoning = {"max_tokens": thinking.budget}
    else:
        level = clamped_effort(thinking, profile, warnings)
        reasoning = {"enabled": True} if level is None else {"effort": level}
    if thinking.shown == "hidden" and profile.reasoning_history == "none":
        reasoning["exclude"] = True
    body["reasoning"] = reasoning
    return level


def _deepseek(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    level = "none" if _is_off(thinking) else clamped_effort(thinking, profile, warnings)
    body["thinking"] = {"type": "disabled" if level == "none" else "enabled"}
    if level not in (None, "none"):
        body["reasoning_effort"] = level
    return level


def _template(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    """A chat template knows on and off only."""
    off = _is_off(thinking)
    body["chat_template_kwargs"] = {profile.template_switch: not off}
    if thinking.effort is not None and thinking.is_explicit and not off:
        warnings.add("approx", thinking.effort.path)
    return "none" if off else None


def _is_off(thinking: Thinking) -> bool:
    return thinking.effort is not None and thinking.effort.value == "none"


_STYLES: dict[str, _Writer] = {
    "effort": _plain,
    "openrouter": _openrouter,
    "deepseek": _deepseek,
    "template": _template,
}
