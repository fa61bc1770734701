"""Which of a provider's response headers an OpenAI client gets, and under which names (docs/mapping.md 5.5)."""

from extproc.translate.on_messages.ratelimit import rate_limits
from extproc.translate.pair import Headers

_KEPT = ("retry-after", "retry-after-ms", "x-should-retry")
_RATE_LIMITS = "x-ratelimit-"


def client_headers(headers: Headers, now: float) -> dict[str, str]:
    """`now`: Unix seconds, for Anthropic's reset times."""
    found = {name: value for name in _KEPT if (value := headers.get(name))}
    if identifier := headers.get("request-id") or headers.get("x-request-id"):
        found |= {"request-id": identifier, "x-request-id": identifier}
    found |= {name: value for name, value in headers.items() if name.startswith(_RATE_LIMITS)}
    return found | rate_limits(headers, now)
