"""Which of a provider's response headers an OpenAI client gets, and under which names (docs/mapping.md 5.5)."""

import math
from datetime import UTC, datetime

from extproc.translate.pair import Headers

_MEMBERS = ("limit", "remaining", "reset")
_KEPT = ("retry-after", "retry-after-ms", "x-should-retry")
_RATE_LIMITS = "x-ratelimit-"


def client_headers(headers: Headers, now: float) -> dict[str, str]:
    """`now`: Unix seconds, for Anthropic's reset times."""
    found = {name: value for name in _KEPT if (value := headers.get(name))}
    if identifier := headers.get("request-id") or headers.get("x-request-id"):
        found |= {"request-id": identifier, "x-request-id": identifier}
    found |= {name: value for name, value in headers.items() if name.startswith(_RATE_LIMITS)}
    return found | rate_limits(headers, now)


def rate_limits(headers: Headers, now: float) -> dict[str, str]:
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
