"""Top-level members of a Chat request that depend on no other: for each, one rule (mapping 4.1)."""

from extproc.translate import want
from extproc.translate.on_messages import members
from extproc.translate.on_messages.draft import Draft
from extproc.translate.want import refused, unsupported

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
    members.check(draft, _RULES, _KNOWN)
    for names in _LOST:
        members.lose(draft, names[0], names)
    for name in _LOST_ALWAYS:
        members.lose(draft, name, (name,), always=True)


def _n(draft: Draft) -> None:
    n = want.integer(draft.body, "n", "")
    if n > 1:
        raise unsupported("n", "the model gives one answer per request")
    if n < 1:
        raise refused("n", "Input should be greater than or equal to 1")


def _modalities(draft: Draft) -> None:
    for modality in want.sequence(draft.body, "modalities", ""):
        if modality != "text":
            raise unsupported("modalities", "the model answers with text only, not with audio")


def _web_search(draft: Draft) -> None:
    options = want.mapping(draft.body, "web_search_options", "")
    if not draft.profile.web_search:
        raise unsupported("web_search_options", "web_search is not available with this model")
    location = want.optional_mapping(options, "user_location", "web_search_options")
    near = want.optional_mapping(location, "approximate", "web_search_options.user_location")
    draft.upstream["tools"] = [members.web_search(near)]


_RULES: members.Rules = {
    "n": _n,
    "modalities": _modalities,
    "moderation": members.moderation,
    "web_search_options": _web_search,
    "service_tier": members.service_tier,
}
# One word for all of a line.
_LOST = (("logprobs", "top_logprobs"), ("logit_bias",), ("store",), ("presence_penalty",), ("frequency_penalty",))
_LOST_ALWAYS = ("seed", "verbosity")
_KNOWN = DROPPED | ELSEWHERE | frozenset(name for names in _LOST for name in names) | set(_LOST_ALWAYS)
