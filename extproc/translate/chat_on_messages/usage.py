"""Token counts: Anthropic's four parts that do not overlap become OpenAI's total and its parts (mapping 4.6)."""

from typing import Any

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count

_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_TIERS = {"standard": "default", "batch": "default", "priority": "priority"}


def merge(known: Usage | None, told: Json | None) -> Usage | None:
    """Counts are cumulative; what is null or absent leaves the earlier one."""
    if not told:
        return known
    usage = known or Usage()
    for name in _PARTS:
        if (n := count(told.get(name))) is not None:
            setattr(usage, name, n)
    details = told.get("output_tokens_details")
    thinking = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    usage.thinking_tokens = usage.thinking_tokens if thinking is None else thinking
    return usage


def write(usage: Usage) -> Json:
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt = usage.input_tokens + written + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens or 0},
    }


def tier(told: Json | None) -> str | None:
    word: Any = (told or {}).get("service_tier")
    return _TIERS.get(word) if isinstance(word, str) else None
