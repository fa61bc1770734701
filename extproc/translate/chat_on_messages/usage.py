"""Token counts for a Chat client (mapping 4.6)."""

from typing import Any

from extproc.translate.pair import Json, Usage

_TIERS = {"standard": "default", "batch": "default", "priority": "priority"}


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
