"""Anthropic's token counts as an answer tells them (mapping 4.6)."""

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count

_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def merge(known: Usage | None, told: Json | None) -> Usage | None:
    """Counts are cumulative; what is null or absent leaves the earlier one."""
    if not told or all(count(told.get(name)) is None for name in _PARTS):
        return known
    usage = known or Usage()
    for name in _PARTS:
        if (n := count(told.get(name))) is not None:
            setattr(usage, name, n)
    details = told.get("output_tokens_details")
    thinking = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    usage.thinking_tokens = usage.thinking_tokens if thinking is None else thinking
    return usage
