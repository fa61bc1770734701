"""Token counts as a Messages client reads them (mapping 2.2)."""

from extproc.translate.pair import Json, Usage

_TIER = {
    "default": "standard",
    "flex": "standard",
    "scale": "standard",
    "priority": "priority",
    "fast": "priority",
}


def tokens_in(size: int) -> int:
    """Estimate from UTF-8 bytes."""
    return (size + 3) // 4


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


def tier(service_tier: str | None) -> Json:
    """As members of usage; nothing where Anthropic has no word for it."""
    word = _TIER.get((service_tier or "").lower())
    return {"service_tier": word} if word else {}
