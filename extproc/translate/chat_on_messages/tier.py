"""Anthropic's service tier, in OpenAI's words (mapping 4.6)."""

from typing import Any

from extproc.translate.pair import Json

_TIERS = {"standard": "default", "batch": "default", "priority": "priority"}


def tier(told: Json | None) -> str | None:
    word: Any = (told or {}).get("service_tier")
    return _TIERS.get(word) if isinstance(word, str) else None
