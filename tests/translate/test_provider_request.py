import pytest

from extproc.translate.conversation import LEVELS
from extproc.translate.provider_request import nearest


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
