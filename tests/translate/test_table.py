"""Which translator serves whom."""

import pytest

from extproc.translate.table import PAIRS, pair_for
from extproc.wire import Dialect


@pytest.mark.parametrize(
    ("client", "provider", "expected"),
    [
        ("messages", ("chat",), ("messages", "chat")),
        ("messages", ("chat", "messages"), ("messages", "messages")),
        ("chat", ("responses", "messages"), ("chat", "responses")),
        ("chat", ("responses",), ("chat", "responses")),
        ("responses", ("chat",), ("responses", "chat")),
    ],
)
def test_pair_for(client: Dialect, provider: tuple[Dialect, ...], expected: tuple[Dialect, Dialect]) -> None:
    assert pair_for(client, provider) is PAIRS[expected]
