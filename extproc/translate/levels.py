"""Levels of effort, and which of those a model has comes nearest to the one that was asked for."""

from collections.abc import Iterable

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def nearest(level: str, allowed: Iterable[str]) -> str:
    """Itself, else the next one down, else up. At least one is allowed."""
    rank, ranks = LEVELS.index(level), sorted(map(LEVELS.index, allowed))
    return LEVELS[max((n for n in ranks if n <= rank), default=ranks[0])]
