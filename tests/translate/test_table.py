"""Which translator serves whom."""

import pytest

from extproc.translate.table import PAIRS, pair_for


@pytest.mark.parametrize(
    ("client", "provider", "expected"),
    [
        ("messages", ("chat",), ("messages", "chat")),
        ("messages", ("chat", "messages"), ("messages", "messages")),
        ("chat", ("responses", "messages"), ("chat", "messages")),
        ("chat", ("responses",), None),
    ],
)
def test_pair_for(client: str, provider: tuple[str, ...], expected: tuple[str, str] | None) -> None:
    assert pair_for(client, provider) is (PAIRS[expected] if expected else None)
