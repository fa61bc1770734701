"""How hard the model shall think: one wanted level from several members, and what of it the profile has."""

from typing import NamedTuple

from extproc.translate import want
from extproc.translate.for_messages.asked import ShowThinking
from extproc.translate.for_messages.draft import Draft
from extproc.translate.levels import nearest
from extproc.translate.want import Json

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


def show_thinking(draft: Draft) -> ShowThinking:
    """Whether the answer's reasoning goes to the client."""
    if draft.profile.emit_thinking != "auto":
        return "yes" if draft.profile.emit_thinking == "always" else "no"
    thinking = draft.body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return "no"
    return "omitted" if thinking.get("display") == "omitted" else "yes"


def wanted(draft: Draft) -> Wanted | None:
    """What the client's members come to, by their precedence."""
    thinking = want.optional_mapping(draft.body, "thinking", "")
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


def clamped(draft: Draft, wanted: Wanted) -> str | None:
    """The nearest level the profile has: downwards, else upwards."""
    level, allowed = wanted.level, draft.profile.efforts
    if level is None:
        return None
    if not allowed:
        if wanted.by_word:
            draft.warnings.add("dropped", wanted.path)
        return None
    found = nearest(level, allowed)
    if found != level:
        draft.warnings.add("clamped", wanted.path)
    return found
