"""Finds names that occur twice in one JSON object. Parsers disagree on which of the values counts (RFC 8259, section
4)."""

import json
from collections.abc import Callable
from typing import Any

import msgspec

Pairs = list[tuple[str, Any]]


class _Found(Exception):
    pass


def at_any_depth(raw: bytes, body: Any) -> str | None:
    """Returns the first such name, or None. `body`: what msgspec has decoded from `raw`, with the last value of each
    name.  Each member has one colon, those within strings aside, and these are the same in `raw` as in `body` written
    again unless some are escaped. So as many colons mean that nothing was lost. Raises RecursionError."""
    # `\u003a` is a colon.
    if b"\\u003" not in raw and raw.count(b":") == msgspec.json.encode(body).count(b":"):
        return None

    def check(pairs: Pairs) -> dict[str, Any]:
        if (name := _twice(pairs)) is not None:
            raise _Found(name)
        return dict(pairs)

    try:
        _load(raw, check)
    except _Found as found:
        return str(found)
    return None


def at_top(raw: bytes) -> str | None:
    """Returns the first such name of the outermost object, or None. Raises RecursionError."""
    last: Pairs = []

    def keep(pairs: Pairs) -> None:
        nonlocal last
        last = pairs  # the outermost object ends last

    _load(raw, keep)
    return _twice(last)


def _load(raw: bytes, hook: Callable[[Pairs], Any]) -> None:
    """Parses without converting numbers, which are not needed here and are slow when long."""
    json.loads(raw.decode(), object_pairs_hook=hook, parse_int=len, parse_float=len, parse_constant=len)


def _twice(pairs: Pairs) -> str | None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    return None
