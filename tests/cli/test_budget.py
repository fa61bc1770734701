import argparse

import pytest

from extproc.cli import budget
from extproc.transport.control import BudgetCommand, BudgetLine


def parsed(*words: str, **more: str) -> BudgetCommand:
    names = dict.fromkeys(("name", "key", "amount", "measure", "until"))
    given = dict(zip(("what", "name", "key", "amount"), words, strict=False))
    return budget.parse(argparse.Namespace(**{**names, **given, **more}))


def test_what_is_asked_for() -> None:
    assert parsed("list") == BudgetCommand("list")
    assert parsed("grant", "team", "data", "+50") == BudgetCommand("grant", "team", "data", 50.0)
    assert parsed("set", "team", "data", "default", measure="usd") == BudgetCommand("set", "team", "data", None, "usd")
    assert parsed("set", "team", "data", "5", until="2026-12-01").until == 1_796_083_200


@pytest.mark.parametrize(
    ("words", "more", "problem"),
    [
        (("list", "team"), {}, "expected nothing else"),
        (("reset", "team"), {}, "expected NAME KEY"),
        (("grant", "team", "data"), {}, "expected NAME KEY AMOUNT"),
        (("grant", "team", "data", "much"), {}, "expected an amount"),
        (("set", "team", "data", "inf"), {}, "expected an amount"),
        (("set", "team", "data", "5"), {"until": "soon"}, "expected a time"),
    ],
)
def test_a_mistake(words: tuple[str, ...], more: dict[str, str], problem: str) -> None:
    with pytest.raises(budget.Unusable, match=problem):
        parsed(*words, **more)


def test_the_table() -> None:
    lines = [BudgetLine("team", "data", "usd", 27.5, 1.25, 550, 500, 1_796_083_200)]
    assert budget.table(lines).splitlines() == [
        "budget  key   measure  used  reserved  limit                 resets",
        "team    data  usd      27.5  1.25      550 (configured 500)  2026-12-01T00:00:00Z",
    ]
