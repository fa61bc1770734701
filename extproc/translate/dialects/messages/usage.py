"""Token counts in the Messages dialect (docs/mapping.md 2.2)."""

from extproc.translate.pair import Json, Usage

# OpenAI's word for how a call was served -> Anthropic's.
_TIERS = {
    "default": "standard",
    "flex": "standard",
    "scale": "standard",
    "priority": "priority",
    "fast": "priority",
}


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
    word = _TIERS.get((service_tier or "").lower())
    return {"service_tier": word} if word else {}
