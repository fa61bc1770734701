"""Top-level members of a Chat request that depend on no other: for each, one rule (mapping 4.1)."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from extproc.translate import want
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.chat_on_messages.passed import is_passed
from extproc.translate.want import refused, unsupported

_USER_ID_MAX = 256
_TIERS = {
    "auto": "auto",
    "default": "standard_only",
    "priority": "auto",
    "fast": "auto",
    "scale": "auto",
    "flex": None,
}
_LOCATION = ("city", "country", "region", "timezone")

DROPPED = frozenset((
    "audio", "metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "safety_identifier", "user",
))  # fmt: skip
"""Neither content nor billing class depends on them (or, the last two, `metadata.user_id` carries them)."""

ELSEWHERE = frozenset((
    "function_call", "functions", "max_completion_tokens", "max_tokens", "messages", "model",
    "parallel_tool_calls", "reasoning_effort", "response_format", "stop", "stream", "stream_options", "temperature",
    "tool_choice", "tools", "top_k", "top_p",
))  # fmt: skip
"""Read by the modules they are named after, or by `limits`."""


def check(draft: Draft) -> None:
    """Refuses, reports or writes."""
    for name, rule in _RULES.items():
        if draft.body.get(name) is not None:
            rule(draft)
    for names in _LOST:
        if any(draft.body.get(name) for name in names):
            draft.warnings.add("dropped", names[0])
    for name in _LOST_ALWAYS:
        if draft.body.get(name) is not None:
            draft.warnings.add("dropped", name)
    _user(draft)
    if want.flag(draft.body, "stream", ""):
        draft.upstream["stream"] = True
    foreign = {name: value for name, value in draft.body.items() if not is_passed(name)}
    draft.warnings.unknown(foreign, _KNOWN, "")


def _n(draft: Draft) -> None:
    n = want.integer(draft.body, "n", "")
    if n > 1:
        raise unsupported("n", "the model gives one answer per request")
    if n < 1:
        raise refused("n", "Input should be greater than or equal to 1")


def _service_tier(draft: Draft) -> None:
    tier = want.one_of(want.text(draft.body, "service_tier", ""), tuple(_TIERS), "service_tier")
    sent = _TIERS[tier]
    if tier == "fast" and draft.profile.fast_mode:
        draft.upstream["speed"] = "fast"
    elif sent is None:
        draft.warnings.add("dropped", "service_tier")
    else:
        draft.upstream["service_tier"] = sent


def _modalities(draft: Draft) -> None:
    for modality in want.sequence(draft.body, "modalities", ""):
        if modality != "text":
            raise unsupported("modalities", "the model answers with text only, not with audio")


def _moderation(draft: Draft) -> None:
    """A block that was asked for must not be waved through."""
    policy = want.optional_mapping(want.mapping(draft.body, "moderation", ""), "policy", "moderation")
    for side in ("input", "output"):
        if want.optional_mapping(policy, side, "moderation.policy").get("mode") == "block":
            raise unsupported(f"moderation.policy.{side}.mode", "nothing is moderated here, so nothing can be blocked")
    draft.warnings.add("dropped", "moderation")


def _web_search(draft: Draft) -> None:
    options = want.mapping(draft.body, "web_search_options", "")
    if not draft.profile.web_search:
        raise unsupported("web_search_options", "web_search is not available with this model")
    tool: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    location = want.optional_mapping(options, "user_location", "web_search_options")
    if location:
        near = want.optional_mapping(location, "approximate", "web_search_options.user_location")
        kept = {key: text for key in _LOCATION if isinstance(text := near.get(key), str)}
        tool["user_location"] = {"type": "approximate", **kept}
    draft.upstream["tools"] = [tool]


def _user(draft: Draft) -> None:
    for name in ("safety_identifier", "user"):
        if user := want.optional_text(draft.body, name, ""):
            long = len(user) > _USER_ID_MAX
            user = sha256(user.encode("utf-8", "surrogatepass")).hexdigest() if long else user
            draft.upstream["metadata"] = {"user_id": user}
            return


_RULES: dict[str, Callable[[Draft], None]] = {
    "n": _n,
    "modalities": _modalities,
    "moderation": _moderation,
    "web_search_options": _web_search,
    "service_tier": _service_tier,
}
# Null, false, zero and empty are the default; one word for all of a line.
_LOST = (("logprobs", "top_logprobs"), ("logit_bias",), ("store",), ("presence_penalty",), ("frequency_penalty",))
_LOST_ALWAYS = ("seed", "verbosity")
_KNOWN = DROPPED | ELSEWHERE | _RULES.keys() | frozenset(name for names in _LOST for name in names) | set(_LOST_ALWAYS)
