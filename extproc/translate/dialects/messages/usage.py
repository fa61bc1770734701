"""Token counts in the Messages dialect (docs/mapping.md 2.2, 4.6)."""

from typing import Any

import msgspec

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count

_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
# OpenAI's word for how a call was served -> Anthropic's.
_TIERS_OF_OPENAI = {
    "default": "standard",
    "flex": "standard",
    "scale": "standard",
    "priority": "priority",
    "fast": "priority",
}
# The reverse.
_TIERS = {"standard": "default", "batch": "default", "priority": "priority"}


def read_usage(known: Usage | None, reported: Json | None, estimated: Usage) -> Usage | None:
    """Counts are cumulative; what is null or absent leaves the earlier one. `estimated`: for lack of any."""
    found = reported or {}
    counts = {name: n for name in _PARTS if (n := count(found.get(name))) is not None}
    if not counts:
        return known
    details = found.get("output_tokens_details")
    thinking = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    if thinking is not None:
        counts["thinking_tokens"] = thinking
    return msgspec.structs.replace(known or estimated, **counts)


def read_service_tier(reported: Json | None) -> str | None:
    """Anthropic's tier in OpenAI's words."""
    word: Any = (reported or {}).get("service_tier")
    return _TIERS.get(word) if isinstance(word, str) else None


def write_usage(usage: Usage) -> Json:
    written: Json = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    }
    if usage.thinking_tokens is not None:
        written["output_tokens_details"] = {"thinking_tokens": usage.thinking_tokens}
    if usage.web_searches:
        written["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    return written


def write_tier(service_tier: str | None) -> Json:
    """As a member of usage; none where Anthropic has no word for it."""
    word = _TIERS_OF_OPENAI.get((service_tier or "").lower())
    return {"service_tier": word} if word else {}
