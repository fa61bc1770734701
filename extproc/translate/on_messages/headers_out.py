"""Which of an upstream's response headers a Chat client gets, and under which names."""

from extproc.translate.on_messages.ratelimit import rate_limits
from extproc.translate.pair import Headers

_KEPT = ("retry-after", "retry-after-ms", "x-should-retry")


def client_headers(headers: Headers, now: float) -> dict[str, str]:
    """`now`: Unix seconds, for reset times."""
    found = {name: value for name in _KEPT if (value := headers.get(name))}
    if identifier := headers.get("request-id") or headers.get("x-request-id"):
        found |= {"request-id": identifier, "x-request-id": identifier}
    return found | rate_limits(headers, now)
