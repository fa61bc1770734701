"""Compares JSON values with expectations that may hold matchers (see vectors/README.md)."""

import re
from typing import Any


def same(actual: Any, expected: Any, path: str = "$") -> list[str]:
    """Differences, one line each; empty means equal. `{"$re": pattern}` and `{"$int": ">0"}` match loosely."""
    if isinstance(expected, dict):
        if "$re" in expected:
            return _pattern(actual, expected["$re"], path)
        if "$int" in expected:
            return _integer(actual, expected["$int"], path)
        return _members(actual, expected, path)
    if isinstance(expected, list):
        return _items(actual, expected, path)
    if isinstance(actual, bool) != isinstance(expected, bool) or actual != expected:
        return [f"{path}: {actual!r} is not {expected!r}"]
    return []


def _pattern(actual: Any, pattern: str, path: str) -> list[str]:
    if isinstance(actual, str) and re.search(pattern, actual):
        return []
    return [f"{path}: {actual!r} does not match /{pattern}/"]


def _integer(actual: Any, condition: str, path: str) -> list[str]:
    floor = {">0": 1, ">=0": 0}[condition]
    if isinstance(actual, int) and not isinstance(actual, bool) and actual >= floor:
        return []
    return [f"{path}: {actual!r} is not an integer {condition}"]


def _members(actual: Any, expected: dict[str, Any], path: str) -> list[str]:
    if not isinstance(actual, dict):
        return [f"{path}: {actual!r} is not an object"]
    missing = [f"{path}.{key}: missing" for key in expected.keys() - actual.keys()]
    extra = [f"{path}.{key}: unexpected, {actual[key]!r}" for key in actual.keys() - expected.keys()]
    shared = [
        line for key in expected.keys() & actual.keys() for line in same(actual[key], expected[key], f"{path}.{key}")
    ]
    return sorted(missing + extra + shared)


def _items(actual: Any, expected: list[Any], path: str) -> list[str]:
    if not isinstance(actual, list):
        return [f"{path}: {actual!r} is not a list"]
    if len(actual) != len(expected):
        return [f"{path}: {len(actual)} items, not {len(expected)}: {actual!r}"]
    return [line for n, (a, e) in enumerate(zip(actual, expected, strict=True)) for line in same(a, e, f"{path}.{n}")]
