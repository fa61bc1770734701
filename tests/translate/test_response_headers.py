"""Reset times, and the headers of a success."""

import pytest

from extproc.translate.response_headers import reset_at
from tests.translate.answers import messages_on_chat

NOW = 1_793_491_200.0  # 2026-11-01T00:00:00Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("6ms", "2026-11-01T00:00:01Z"),
        ("7.66s", "2026-11-01T00:00:08Z"),
        ("1m30s", "2026-11-01T00:01:30Z"),
        ("6m0s", "2026-11-01T00:06:00Z"),
        ("1h2m3s", "2026-11-01T01:02:03Z"),
        ("2d1h", "2026-11-03T01:00:00Z"),
        ("0s", "2026-11-01T00:00:00Z"),
        ("500µs", "2026-11-01T00:00:01Z"),
        ("60", "2026-11-01T00:01:00Z"),
        ("0.5", "2026-11-01T00:00:01Z"),
        ("1793491260", "2026-11-01T00:01:00Z"),
        ("1793491260001", "2026-11-01T00:01:01Z"),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("inf", None),
        ("9" * 400, None),
        ("99999999999999999999", None),
    ],
)
def test_reset(value: str, expected: str | None) -> None:
    assert reset_at(value, NOW) == expected


def test_a_success_has_them_too() -> None:
    upstream = {
        "x-request-id": "r",
        "retry-after-ms": "1200",
        "x-ratelimit-limit": "9",
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-tokens": "5",
        "x-ratelimit-reset-tokens": "unclear",
        "x-ratelimit-limit-project-tokens": "1",
        "openai-organization": "o",
        "set-cookie": "c",
        "content-length": "3",
    }
    assert messages_on_chat.headers(upstream, NOW) == {
        "request-id": "r",
        "x-request-id": "r",
        "retry-after": "2",
        "retry-after-ms": "1200",
        "anthropic-ratelimit-requests-limit": "10",
        "anthropic-ratelimit-tokens-remaining": "5",
    }
