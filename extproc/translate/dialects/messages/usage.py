"""Anthropic's token counts as an answer reports them (docs/mapping.md 4.6)."""

from typing import Any

import msgspec

from extproc.translate.pair import Json, Usage
from extproc.wire.lenient import count

_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
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
