"""Rate limits in Anthropic's headers (mapping 5.5)."""

import math
import re
from datetime import UTC, datetime

from extproc.translate.pair import Headers

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(d|h|ms|us|µs|μs|ns|m|s)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_PLAIN = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
# A plain number is a duration, Unix seconds or Unix milliseconds, by its size.
_SECONDS_BELOW, _UNIX_BELOW = 1e9, 1e11

_MEMBERS = ("limit", "remaining", "reset")
# OpenRouter names no family; its counts are of requests.
_FAMILIES = (("", "requests"), ("-requests", "requests"), ("-tokens", "tokens"))


def reset_at(value: str, now: float) -> str | None:
    """RFC 3339, rounded up to a second; None when it cannot be read."""
    seconds = _unix(value.strip(), now)
    try:
        return (
            None if seconds is None else datetime.fromtimestamp(math.ceil(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        )
    except (ValueError, OverflowError, OSError):
        return None


def _unix(value: str, now: float) -> float | None:
    if _PLAIN.fullmatch(value):
        number = float(value)
        if number < _SECONDS_BELOW:
            return now + number
        return number if number < _UNIX_BELOW else number / 1000
    if _DURATION.fullmatch(value):
        return now + sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    return None


def rate_limits(headers: Headers, now: float) -> dict[str, str]:
    found = {}
    for suffix, family in _FAMILIES:
        for member in _MEMBERS:
            value = headers.get(f"x-ratelimit-{member}{suffix}")
            told = reset_at(value, now) if value and member == "reset" else value
            if told:
                found[f"anthropic-ratelimit-{family}-{member}"] = told
    return found
