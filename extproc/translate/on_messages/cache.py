"""Cache breakpoints: OpenAI's marks on parts become Anthropic's on blocks."""

from collections.abc import Iterator
from typing import Any

from extproc.translate.pair import Json

_MAX = 4


def mark(block: Json, part: Json) -> Json:
    """Carries a part's mark over to its block; Anthropic's own, in an `extra` member, passes."""
    own, hint = part.get("cache_control"), part.get("prompt_cache_breakpoint")
    if isinstance(own, dict):
        block["cache_control"] = own
    elif isinstance(hint, dict):
        longer = {"ttl": "1h"} if hint.get("ttl") == "12h" else {}
        block["cache_control"] = {"type": "ephemeral", **longer}
    return block


def keep_last(upstream: Json) -> None:
    """Anthropic takes four, the one for the whole request among them."""
    marked = [block for block in _blocks(upstream) if "cache_control" in block]
    for block in marked[: max(0, len(marked) - (_MAX - ("cache_control" in upstream)))]:
        del block["cache_control"]


def _blocks(upstream: Json) -> Iterator[Json]:
    for holder in (upstream.get("tools"), upstream.get("system"), *_contents(upstream["messages"])):
        if isinstance(holder, list):
            for block in holder:
                yield block
                yield from _inner(block)


def _contents(messages: list[Json]) -> Iterator[Any]:
    for message in messages:
        yield message["content"]


def _inner(block: Json) -> list[Json]:
    inner = block.get("content") if block.get("type") == "tool_result" else None
    return inner if isinstance(inner, list) else []
