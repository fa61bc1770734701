"""Calls whose worker was killed are charged as on record, and no call is charged twice."""

from pathlib import Path

import pytest

from extproc.policy.budgets.limits import account
from extproc.policy.budgets.used import of_budgets
from extproc.store.counters import Settlement
from extproc.supervisor import unsettled
from extproc.supervisor.unsettled import WAIT_SECONDS, UnsettledCalls
from extproc.usage.calls import Fields
from tests.settings import GATEWAY, source

BUDGETS = """
budgets:
  - {name: money, key: jwt.sub, limit: {usd: 5, tokens: 1000}, per: month}
  - {name: at-once, key: jwt.sub, limit: {concurrent: 2}}
  - {name: calls, key: jwt.team, limit: {requests: 9}, per: day}
"""
NOVEMBER, THE_30TH = 1_793_491_200, 1_795_996_800
"""Unix seconds: the first of the month, and a day in it."""
LINE: Fields = {
    "time": "2026-11-30T09:30:00.000Z",
    "request_id": "req_1",
    "gen_ai.request.stream": True,
    "gen_ai.usage.input_tokens": 70,
    "gen_ai.usage.output_tokens": 30,
    "gen_ai.usage.cost": 0.002,
    "attempts.input_tokens": 5,
    **of_budgets(
        [account("money", "usd", "ann"), account("at-once", "concurrent", "ann"), account("calls", "x", "red")]
    ),
}
CHARGED = {
    (account("money", "usd", "ann"), NOVEMBER): 2_000_000,
    (account("money", "tokens", "ann"), NOVEMBER): 105,
    (account("calls", "requests", "red"), THE_30TH): 1,
}


def used(settlements: list[Settlement]) -> dict[tuple[str, int], int]:
    assert all(one.released == 0 and one.ends > one.bucket for one in settlements)
    return {(one.account, one.bucket): one.used for one in settlements}


@pytest.fixture
def overdue(tmp_path: Path) -> "Overdue":
    return Overdue(tmp_path)


class Overdue:
    def __init__(self, folder: Path) -> None:
        self.calls = UnsettledCalls()
        self._budgets = source(folder, GATEWAY + BUDGETS).config.budgets

    def at(self, now: float) -> dict[tuple[str, int], int]:
        return used(self.calls.overdue(self._budgets, now))


def test_a_call_that_nobody_settles_is_charged_once_as_on_record(overdue: Overdue) -> None:
    overdue.calls.log(LINE, 100)
    assert overdue.at(100 + WAIT_SECONDS - 0.1) == {}
    assert overdue.at(100 + WAIT_SECONDS) == CHARGED
    assert overdue.at(1e6) == {}


@pytest.mark.parametrize("order", [("log", "settle"), ("settle", "log")])
def test_a_call_that_is_settled_in_time_is_not(overdue: Overdue, order: tuple[str, str]) -> None:
    for step in order:
        if step == "log":
            overdue.calls.log(LINE, 100)
        else:
            assert overdue.calls.settle(["req_1"]) == []
    assert overdue.at(1e6) == {}


def test_a_settlement_that_comes_too_late_counts_instead(overdue: Overdue) -> None:
    overdue.calls.log(LINE, 100)
    overdue.at(1e6)
    assert used(overdue.calls.settle(["req_1"])) == {name: -amount for name, amount in CHARGED.items()}
    assert overdue.calls.settle(["req_1"]) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"budget.keys": None},
        {"budget.keys": "[["},
        {"budget.keys": 5},
        {"budget.keys": '[["gone","ann"]]'},
        {"request_id": None},
    ],
    ids=str,
)
def test_a_line_that_says_nothing_of_budgets(overdue: Overdue, changed: Fields) -> None:
    overdue.calls.log({**LINE, **changed}, 100)
    assert overdue.at(1e6) == {}


def test_calls_of_which_only_one_side_tells_are_forgotten(overdue: Overdue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsettled, "MAX_KEPT", 2)
    overdue.calls.settle(["req_1", "req_2", "req_3"])
    for number in (1, 2, 3):
        overdue.calls.log({**LINE, "request_id": f"req_{number}"}, 100)
    assert overdue.at(1e6) == CHARGED  # the first, which was settled too long ago
