import pytest

from extproc.translate.levels import LEVELS, nearest


@pytest.mark.parametrize(
    ("level", "allowed", "expected"),
    [
        ("high", LEVELS, "high"),
        ("max", ("high", "low"), "high"),
        ("medium", ("xhigh", "low"), "low"),
        ("none", ("medium", "low"), "low"),
        ("none", ("max",), "max"),
    ],
)
def test_the_nearest_level(level: str, allowed: tuple[str, ...], expected: str) -> None:
    assert nearest(level, allowed) == expected
