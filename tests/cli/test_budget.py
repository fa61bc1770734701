import argparse
from pathlib import Path

import pytest

from extproc.cli import budget
from extproc.cli.main import main
from extproc.printable import MAX_TIME
from extproc.store.counters import KeptCounters
from extproc.store.overrides import COUNTERS, Change, Override
from extproc.transport.control import BudgetAnswer, BudgetChange, BudgetCommand, BudgetLine
from tests.settings import ENVIRON, GATEWAY


def parsed(*words: str, **more: str) -> BudgetCommand:
    names = dict.fromkeys(("name", "key", "amount", "measure", "until", "limit"))
    given = dict(zip(("what", "name", "key", "amount"), words, strict=False))
    return budget.parse(argparse.Namespace(**{**names, **given, **more}))


def test_what_is_asked_for() -> None:
    assert parsed("list") == BudgetCommand("list")
    assert parsed("grant", "team", "data", "+50") == BudgetCommand("grant", "team", "data", 50.0)
    assert parsed("set", "team", "data", "default", measure="usd") == BudgetCommand("set", "team", "data", None, "usd")
    assert parsed("set", "team", "data", "5", until="2026-12-01").until == 1_796_083_200
    assert parsed("audit", limit="5000") == BudgetCommand("audit", entries=5000)


@pytest.mark.parametrize(
    ("words", "more", "problem"),
    [
        (("list", "team"), {}, "expected nothing else"),
        (("reset", "team"), {}, "expected NAME KEY"),
        (("grant", "team", "data"), {}, "expected NAME KEY AMOUNT"),
        (("grant", "team", "data", "much"), {}, "expected an amount"),
        (("set", "team", "data", "inf"), {}, "expected an amount"),
        (("set", "team", "data", "5"), {"until": "soon"}, "expected a time"),
        (("set", "team", "data", "5"), {"until": "1970-01-01"}, "the time is over"),
        (("set", "team", "data", "5"), {"until": "1960-01-01"}, "the time is over"),
        (("audit",), {"limit": "0"}, "expected a number from 1 to 10000"),
        (("audit",), {"limit": "10001"}, "expected a number from 1 to 10000"),
        (("list",), {"limit": "5"}, "--limit goes with audit"),
        (("set", "team", "data", "5"), {"until": "9999-12-31T23:59:59-05:00"}, "before the year 10000"),
    ],
)
def test_a_mistake(words: tuple[str, ...], more: dict[str, str], problem: str) -> None:
    with pytest.raises(budget.Unusable, match=problem):
        parsed(*words, **more)


def test_what_goes_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", "list", "--token-file", "x"]) == 2
    assert "--token-file goes with --gateway" in capsys.readouterr().err
    assert main(["budget", "list", "--gateway", "http://192.0.2.1"]) == 1
    assert "would send tokens unencrypted" in capsys.readouterr().err


def test_the_table_of_changes() -> None:
    one = BudgetChange(1_796_083_200, "olga", "api", "set", "team", "data", "usd", 500, 650, 0, "i")
    two = BudgetChange(1_796_083_200, "root", "command", "grant", "team", "data", "usd", 650, 700, 1_796_083_260)
    shown = """\
time                  by        with     change  budget  key   measure  old  new  until
2026-12-01T00:00:00Z  olga (i)  api      set     team    data  usd      500  650
2026-12-01T00:00:00Z  root      command  grant   team    data  usd      650  700  2026-12-01T00:01:00Z"""
    assert budget.audit([one, two]) == shown


@pytest.mark.parametrize("has_more", [True, False])
def test_the_audit_says_when_there_are_more(capsys: pytest.CaptureFixture[str], *, has_more: bool) -> None:
    entry = BudgetChange(1_796_083_200, "root", "command", "set", "team", "data", "usd", 5, 7)
    assert budget.run(BudgetCommand("audit"), lambda _: BudgetAnswer(changes=[entry], has_more=has_more)) == 0
    note = "only the last 1 changes are shown; --limit N shows more\n"
    assert capsys.readouterr().err == (note if has_more else "")


def test_a_line_break_in_a_key_makes_no_line() -> None:
    forged = "x\n2026-12-01T00:00:00Z  root  command  set  team  data  usd  500  650\x1b[2J"
    entry = BudgetChange(1_796_083_200, forged, "api", "set", "team", forged, "usd", 5, 7)
    line = BudgetLine("team", forged, "usd", 1, 0, 5, 5, 0)
    for table in (budget.audit([entry]), budget.table([line])):
        assert len(table.splitlines()) == 2 and "x?2026-12-01T00:00:00Z  root" in table and "\x1b" not in table


def test_times_that_were_kept_without_a_bound_are_shown() -> None:
    entry = BudgetChange(1_796_083_200, "root", "command", "set", "team", "data", "usd", 5, 7, MAX_TIME + 1)
    assert budget.audit([entry]).endswith("7    9999-12-31T23:59:59Z")


def test_check_shows_what_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where it cannot know."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "gateway.yaml"
    path.write_text(f"{GATEWAY}budgets: [{{name: team, key: jwt.team, limit: {{requests: 3}}, per: month}}]\n")

    def shown() -> str:
        assert main(["check", "--config", str(path)]) == 0
        return capsys.readouterr().out

    assert "limits changed by hand are not shown: no gateway has kept any" in shown()
    assert not (tmp_path / "state").exists(), "a check writes nothing"
    kept = KeptCounters(tmp_path / "state")
    change = Change(1, "olga", "api", "set", "team\x1frequests\x1fdata", 3, 5)
    kept.overrides.edit(change.account, lambda _: (Override(5), change))
    assert "\nbudget team of 'data': requests 5 instead of 3 by hand\n" in shown()
    kept.close()
    (tmp_path / "state" / COUNTERS).write_bytes(b"no database" * 100)
    assert "limits changed by hand are not shown: the store cannot be used: file is not a database" in shown()


def test_the_table() -> None:
    lines = [BudgetLine("team", "data", "usd", 27.5, 1.25, 550, 500, 1_796_083_200)]
    assert budget.table(lines).splitlines() == [
        "budget  key   measure  used  reserved  limit                 resets",
        "team    data  usd      27.5  1.25      550 (configured 500)  2026-12-01T00:00:00Z",
    ]
