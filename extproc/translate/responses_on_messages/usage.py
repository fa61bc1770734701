"""Token counts for a Responses client (mapping 6.5)."""

from extproc.translate.pair import Json, Usage


def write(usage: Usage) -> Json:
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    given = usage.input_tokens + written + cached
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens or 0},
        "total_tokens": given + usage.output_tokens,
    }
