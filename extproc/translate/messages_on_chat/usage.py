"""Token counts: OpenAI's total and its parts become Anthropic's four parts that do not overlap (mapping 2.2)."""

from typing import Any

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count

_TIER = {
    "default": "standard",
    "flex": "standard",
    "scale": "standard",
    "priority": "priority",
    "fast": "priority",
}


def _first(*values: Any) -> int:
    return next((n for n in map(count, values) if n is not None), 0)


def _details(usage: Json, member: str) -> Json:
    details = usage.get(member)
    return details if isinstance(details, dict) else {}


def read_usage(usage: Json) -> Usage:
    prompt = _first(usage.get("prompt_tokens"))
    total = _first(usage.get("total_tokens"))
    completion = _first(usage.get("completion_tokens"), max(0, total - prompt))
    thinking = count(_details(usage, "completion_tokens_details").get("reasoning_tokens"))
    details = _details(usage, "prompt_tokens_details")
    # DeepSeek and Moonshot have members of their own.
    cached = _first(details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
    cached = min(cached, prompt)
    written = min(_first(details.get("cache_write_tokens")), prompt - cached)
    # Some vendors count reasoning beside the completion; then only the total tells.
    if thinking and total == prompt + completion + thinking:
        completion += thinking
    return Usage(
        input_tokens=prompt - cached - written,
        output_tokens=completion,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=written,
        thinking_tokens=thinking,
    )


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
    return written


def tier(service_tier: str | None) -> Json:
    """As members of usage; nothing where Anthropic has no word for it."""
    word = _TIER.get((service_tier or "").lower())
    return {"service_tier": word} if word else {}
