"""Token counts in the Responses dialect (docs/mapping.md 6.3, 6.5)."""

from typing import Any

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count


def read_usage(usage: Json, web_searches: int) -> Usage:
    """The four parts do not overlap: input without what was cached, cache reads, cache writes, output."""
    prompt = count(usage.get("input_tokens")) or 0
    details = _object(usage.get("input_tokens_details"))
    cached = min(count(details.get("cached_tokens")) or 0, prompt)
    written = min(count(details.get("cache_write_tokens")) or 0, prompt - cached)
    return Usage(
        input_tokens=prompt - cached - written,
        output_tokens=count(usage.get("output_tokens")) or 0,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=written,
        thinking_tokens=count(_object(usage.get("output_tokens_details")).get("reasoning_tokens")),
        web_searches=web_searches,
    )


def write_usage(usage: Usage) -> Json:
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt = usage.input_tokens + written + cached
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens or 0},
        "total_tokens": prompt + usage.output_tokens,
    }


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
