"""Token counts in the Chat dialect (docs/mapping.md 2.2, 4.6)."""

from typing import Any

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count


def read_usage(usage: Json) -> Usage:
    """OpenAI's total and its parts as four parts that do not overlap."""
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


def write_usage(usage: Usage) -> Json:
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt = usage.input_tokens + written + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens or 0},
    }


def _first(*values: Any) -> int:
    return next((n for n in map(count, values) if n is not None), 0)


def _details(usage: Json, member: str) -> Json:
    details = usage.get(member)
    return details if isinstance(details, dict) else {}
