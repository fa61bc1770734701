"""Top-level members that both of OpenAI's APIs have: for each, one rule (mapping 4.1)."""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from extproc.translate import want
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.passed import is_passed
from extproc.translate.pair import Json
from extproc.translate.want import unsupported

_USER_ID_MAX = 256
_TIERS = {
    "auto": "auto",
    "default": "standard_only",
    "priority": "auto",
    "fast": "auto",
    "scale": "auto",
    "on_demand": "standard_only",  # Groq's word for it
    "flex": None,
    "ultrafast": None,
}
_LOCATION = ("city", "country", "region", "timezone")

Rule = Callable[[Draft], None]
Rules = Mapping[str, Rule]


def check(draft: Draft, rules: Rules, known: frozenset[str]) -> None:
    """Applies the rules of the members that are there, writes who asks and `stream`, reports what nobody knows."""
    for name, rule in rules.items():
        if draft.body.get(name) is not None:
            rule(draft)
    _user(draft)
    if want.flag(draft.body, "stream", ""):
        draft.upstream["stream"] = True
    foreign = {name: value for name, value in draft.body.items() if not is_passed(name)}
    draft.warnings.unknown(foreign, known | rules.keys(), "")


def lose(draft: Draft, name: str, members: Iterable[str], *, always: bool = False) -> None:
    """Reports a loss. Null, false, zero and empty are the default unless `always`."""
    found = [draft.body.get(member) for member in members]
    if any(value is not None if always else value for value in found):
        draft.warnings.add("dropped", name)


def service_tier(draft: Draft) -> None:
    tier = want.one_of(want.text(draft.body, "service_tier", ""), tuple(_TIERS), "service_tier")
    sent = _TIERS[tier]
    if tier == "fast" and draft.profile.fast_mode:
        draft.upstream["speed"] = "fast"
    elif sent is None:
        draft.warnings.add("dropped", "service_tier")
    else:
        draft.upstream["service_tier"] = sent


def moderation(draft: Draft) -> None:
    """A block that was asked for must not be waved through."""
    policy = want.optional_mapping(want.mapping(draft.body, "moderation", ""), "policy", "moderation")
    for side in ("input", "output"):
        if want.optional_mapping(policy, side, "moderation.policy").get("mode") == "block":
            raise unsupported(f"moderation.policy.{side}.mode", "nothing is moderated here, so nothing can be blocked")
    draft.warnings.add("dropped", "moderation")


def web_search(near: Json) -> Json:
    """Anthropic's tool; `near`: the members of an approximate location."""
    tool: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    if kept := {key: text for key in _LOCATION if isinstance(text := near.get(key), str)}:
        tool["user_location"] = {"type": "approximate", **kept}
    return tool


def _user(draft: Draft) -> None:
    for name in ("safety_identifier", "user"):
        if user := want.optional_text(draft.body, name, ""):
            long = len(user) > _USER_ID_MAX
            user = sha256(user.encode("utf-8", "surrogatepass")).hexdigest() if long else user
            draft.upstream["metadata"] = {"user_id": user}
            return
