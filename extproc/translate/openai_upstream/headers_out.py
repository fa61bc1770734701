"""Which of an upstream's response headers a Messages client gets, and under which names."""

import math

from extproc.translate.openai_upstream.ratelimit import rate_limits
from extproc.translate.pair import Headers

_KEPT = ("retry-after", "retry-after-ms", "x-should-retry")


def client_headers(headers: Headers, now: float) -> dict[str, str]:
    """`now`: Unix seconds, for reset times."""
    found = {name: value for name in _KEPT if (value := headers.get(name))}
    if identifier := headers.get("x-request-id"):
        found |= {"request-id": identifier, "x-request-id": identifier}
    if "retry-after" not in found and (seconds := _seconds(found.get("retry-after-ms", ""))):
        found["retry-after"] = seconds
    return found | rate_limits(headers, now)


def _seconds(milliseconds: str) -> str:
    try:
        return str(math.ceil(float(milliseconds) / 1000))
    except (ValueError, OverflowError):
        return ""
