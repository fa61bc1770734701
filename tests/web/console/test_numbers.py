import pytest

from extproc.usage.calls import NANO
from extproc.web.console import numbers
from extproc.web.console.numbers import ABSENT


@pytest.mark.parametrize(
    ("nano", "shown"),
    [(None, ABSENT), (0, "$0.00"), (1234 * NANO, "$1,234.00"), (NANO // 100, "$0.0100"), (2_680_001, "$0.0027")],
)
def test_usd(nano: int | None, shown: str) -> None:
    assert numbers.usd(nano) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (2.5, "2.5"), (999, "999"), (1000, "1k"), (9_314_442, "9.31M"), (12_345_678, "12.3M"), (10**12, "1T")],
)
def test_short(value: float, shown: str) -> None:
    assert numbers.short(value) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 0, ABSENT), (0, 5, "0%"), (1, 3, "33.3%"), (5, 5, "100%"), (99_999, 100_000, "100%")],
)
def test_share(part: int, whole: int, shown: str) -> None:
    assert numbers.share(part, whole) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(None, ABSENT), (0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (600_000, "10.0 min")]
)
def test_duration(milliseconds: int | None, shown: str) -> None:
    assert numbers.duration(milliseconds) == shown
