"""docs/security.md: each promise names tests, and they exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text("utf-8")
PROMISES = re.findall(r"^\| (.+) \| (.*) \|$", TEXT.partition("## Promises")[2], re.MULTILINE)
ROWS = [(promise, kept) for promise, kept in PROMISES if kept not in ("kept by", "test") and "---" not in kept]


@pytest.mark.parametrize("kept", [kept for _, kept in ROWS], ids=[promise[:40] for promise, _ in ROWS])
def test_the_tests_of_a_promise_exist(kept: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", kept)
    assert named and len(named) == kept.count("`") // 2
    for path, function in named:
        text = (ROOT / path).read_text("utf-8")
        assert f"def {function}(" in text if function else "def test_" in text


def test_there_are_promises() -> None:
    assert len(ROWS) > 20
