"""What Prometheus learns of budgets, from counters as they stand."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extproc.policy.budgets.limits import account
from extproc.store.counters import AccountState
from extproc.store.overrides import Change, Override
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.metrics import MAX_KEYS, OfBudgets
from tests.settings import GATEWAY, source

NOW = 1_700_000_000.0
TODAY, YESTERDAY = 1_699_920_000, 1_699_833_600
BUDGETS = """
budgets:
  - {name: day, key: jwt.team, limit: {usd: 2, requests: 10}, per: day, warn_at: 0.5}
  - {name: at-once, key: jwt.sub, limit: {concurrent: 4}}
"""
Samples = dict[tuple[str, ...], float]


class Counted:
    def __init__(self, folder: Path, states: Sequence[AccountState] | None, text: str = BUDGETS) -> None:
        async def made() -> BudgetKeeper:
            keeper = BudgetKeeper(lambda _: None)
            keeper.use(source(folder, f"{GATEWAY}{text}store: {{folder: {folder / 'state'}}}\n"), {})
            return keeper

        self.keeper = asyncio.run(made())
        self.states = states
        self.reads = 0
        self.registry = CollectorRegistry()
        self.registry.register(OfBudgets(self.keeper, self.read, lambda: NOW))

    def read(self) -> Sequence[AccountState] | None:
        self.reads += 1
        return self.states

    def samples(self, name: str) -> Samples:
        families = text_string_to_metric_families(generate_latest(self.registry).decode())
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return {tuple(value for _, value in sorted(one.labels.items())): one.value for one in found}


def state(budget: str, measure: str, key: str, used: int, held: int = 0, bucket: int = TODAY) -> AccountState:
    return AccountState(account(budget, measure, key), {bucket: used}, held)


def test_each_of_few_keys_has_a_series(tmp_path: Path) -> None:
    counted = Counted(
        tmp_path,
        [
            state("day", "usd", "data", 500_000_000, 500_000_000),
            state("day", "requests", "data", 12),
            state("day", "requests", 'it "\n', 1),
            state("day", "requests", "idle", 9, bucket=YESTERDAY),
            state("at-once", "concurrent", "ann", 0, 3),
            state("gone", "requests", "data", 5),
        ],
    )
    assert counted.samples("extproc_budget_used_ratio") == {
        ("day", "data", "usd"): 0.5,
        ("day", "data", "requests"): 1.2,
        ("day", 'it "\n', "requests"): 0.1,
        ("at-once", "ann", "concurrent"): 0.75,
    }
    keys = counted.samples("extproc_budget_keys")
    assert {name: count for name, count in keys.items() if count} == {
        ("day", "usd", "near"): 1,
        ("day", "requests", "used_up"): 1,
        ("day", "requests", "below"): 1,
        ("at-once", "concurrent", "below"): 1,
    }
    assert counted.samples("extproc_budget_store_up") == {(): 1}


def test_many_keys_make_one_series(tmp_path: Path) -> None:
    states = [state("day", "requests", f"team-{n}", n % 9 + 1) for n in range(MAX_KEYS + 1)]
    counted = Counted(tmp_path, states)
    assert counted.samples("extproc_budget_used_ratio") == {("day", "", "requests"): 0.9}
    keys = counted.samples("extproc_budget_keys")
    assert keys[("day", "requests", "below")] + keys[("day", "requests", "near")] == MAX_KEYS + 1


def test_a_limit_that_was_changed_by_hand_counts(tmp_path: Path) -> None:
    counted = Counted(tmp_path, [state("day", "requests", "data", 10)])
    one = account("day", "requests", "data")
    change = Change(at=1, by="olga", via="command", action="set", account=one, old=10, new=40)
    asyncio.run(counted.keeper.override(one, lambda _: (Override(limit=40), change)))
    assert counted.samples("extproc_budget_used_ratio") == {("day", "data", "requests"): 0.25}


def test_counters_that_cannot_be_read_leave_nothing_but_that(tmp_path: Path) -> None:
    counted = Counted(tmp_path, None)
    assert counted.samples("extproc_budget_store_up") == {(): 0}
    assert not counted.samples("extproc_budget_used_ratio") and not counted.samples("extproc_budget_keys")


def test_counters_that_cannot_be_kept_are_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("no folder")
    with caplog.at_level(logging.ERROR):
        counted = Counted(tmp_path, [state("day", "requests", "data", 5)])
    assert counted.samples("extproc_budget_store_up") == {(): 0}
    assert counted.samples("extproc_budget_used_ratio") == {("day", "data", "requests"): 0.5}


def test_without_budgets_nothing_is_read(tmp_path: Path) -> None:
    counted = Counted(tmp_path, [], text="\n")
    assert not counted.samples("extproc_budget_store_up") and counted.reads == 0
