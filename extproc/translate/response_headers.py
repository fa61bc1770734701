"""Which of a provider's response headers a client gets, and under which names (docs/mapping.md 5.5)."""

import math
import re
from datetime import UTC, datetime

from extproc.translate.pair import Headers

# OpenAI's and Anthropic's SDKs wait as long as these say, and retry or not.
_KEPT = ("retry-after", "retry-after-ms", "x-should-retry")
# https://platform.claude.com/docs/en/api/rate-limits#response-headers,
# https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers: moments on one side, durations on the
# other.
_MEMBERS = ("limit", "remaining", "reset")
_RATE_LIMITS = "x-ratelimit-"


def for_openai_client(headers: Headers, now: float) -> dict[str, str]:
    """`now`: Unix seconds, for Anthropic's reset times."""
    found = {name: value for name in _KEPT if (value := headers.get(name))}
    if identifier := headers.get("request-id") or headers.get("x-request-id"):
        found |= {"request-id": identifier, "x-request-id": identifier}
    found |= {name: value for name, value in headers.items() if name.startswith(_RATE_LIMITS)}
    return found | openai_rate_limits(headers, now)


def openai_rate_limits(headers: Headers, now: float) -> dict[str, str]:
    """Anthropic's rate limits in OpenAI's headers. `now`: Unix seconds."""
    found = {}
    for family, source in (("requests", "requests"), ("tokens", _tokens_family(headers))):
        for member in _MEMBERS:
            value = headers.get(f"anthropic-ratelimit-{source}-{member}")
            shown = duration(value, now) if value and member == "reset" else value
            if shown:
                found[f"x-ratelimit-{member}-{family}"] = shown
    return found


def duration(moment: str, now: float) -> str | None:
    """Until an RFC 3339 moment, as Go writes durations, rounded up to a second; None when it cannot be read."""
    try:
        at = datetime.fromisoformat(moment.strip())
        left = max(0, math.ceil((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now))
    except (ValueError, OverflowError):
        return None
    minutes, seconds = divmod(left, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _tokens_family(headers: Headers) -> str:
    """The tighter of input and output, where there is no sum of both."""
    if any(f"anthropic-ratelimit-tokens-{member}" in headers for member in _MEMBERS):
        return "tokens"
    return min(("input-tokens", "output-tokens"), key=lambda family: _room(headers, family))


def _room(headers: Headers, family: str) -> float:
    """The part that is left; unknown is more than any."""
    try:
        limit, remaining = (float(headers[f"anthropic-ratelimit-{family}-{name}"]) for name in _MEMBERS[:2])
        return remaining / limit
    except (KeyError, ValueError, ZeroDivisionError):
        return math.inf


# The other way round

# OpenAI's reset times look like Go's durations, with days besides. Unicode has two letters for micro.
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(d|h|ms|us|µs|μs|ns|m|s)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_PLAIN = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
# A plain number is a duration, Unix seconds or Unix milliseconds, by its size.
_SECONDS_BELOW, _UNIX_BELOW = 1e9, 1e11

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


def anthropic_rate_limits(headers: Headers, now: float) -> dict[str, str]:
    """OpenAI's rate limits in Anthropic's headers. `now`: Unix seconds."""
    found = {}
    for suffix, family in _FAMILIES:
        for member in _MEMBERS:
            value = headers.get(f"x-ratelimit-{member}{suffix}")
            shown = reset_at(value, now) if value and member == "reset" else value
            if shown:
                found[f"anthropic-ratelimit-{family}-{member}"] = shown
    return found


def for_messages_client(headers: Headers, now: float) -> dict[str, str]:
    """`now`: Unix seconds, for reset times."""
    found = {name: value for name in _KEPT if (value := headers.get(name))}
    if identifier := headers.get("x-request-id"):
        found |= {"request-id": identifier, "x-request-id": identifier}
    # Not every client knows the milliseconds, which are in no standard.
    if "retry-after" not in found and (seconds := _seconds(found.get("retry-after-ms", ""))):
        found["retry-after"] = seconds
    return found | anthropic_rate_limits(headers, now)


def _seconds(milliseconds: str) -> str:
    try:
        return str(math.ceil(float(milliseconds) / 1000))
    except (ValueError, OverflowError):
        return ""
