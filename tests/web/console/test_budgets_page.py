"""Budgets as the console shows them: everybody's to operators, their own to everybody else."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.printable import MAX_TIME
from extproc.store.counters import Settlement
from extproc.store.overrides import Change, Override
from extproc.supervisor.budget_commands import carry_out
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.control import BudgetAnswer, BudgetCommand, Unreachable
from tests.web.console.test_access import sign_in
from tests.web.site import Site

BUDGETS = """
budgets:
  - {name: person-month, key: jwt.sub, limit: {usd: 500}, per: month, warn_at: 0.8}
  - {name: everyone, key: '"all"', limit: {requests: 10, tokens: 1000}, per: day, exceeded: observe}
  - {name: by-model, key: model, limit: {tokens: 100}, per: day, exceeded: {model: claude-small}}
"""
MONTH = "person-month\x1fusd\x1f"
USD = 10**9


class Desk:
    """A supervisor's counters, without a socket."""

    def __init__(self, site: Site) -> None:
        self.now = site.now
        self.keeper = BudgetKeeper(lambda _: None)
        self.keeper.use(site.gateway.source, {})

    def __call__(self, _: Path, command: BudgetCommand) -> BudgetAnswer:
        return asyncio.run(carry_out(command, self.keeper, self.now()))

    def uses(self, account: str, amount: int) -> None:
        settlement = Settlement(account, int(self.now()), 2**33, amount, 0)
        asyncio.run(self.keeper.counters.settle("w", [settlement]))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, {"allow": ['"developers" in jwt.groups']}, more=BUDGETS) as made:
        made.ask_budgets = Desk(made)
        made.restart()
        yield made


@pytest.fixture
def desk(site: Site) -> Desk:
    assert isinstance(site.ask_budgets, Desk)
    return site.ask_budgets


def rows(page: str) -> list[str]:
    """The texts of all rows."""
    found = re.findall(r"(?s)<tr>(.*?)</tr>", page.partition("<main")[2])
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row)).strip() for row in found if "<td" in row]


def test_an_operator_sees_every_key_the_fullest_first(site: Site, desk: Desk) -> None:
    desk.uses(f"{MONTH}bob", 100 * USD)
    desk.uses(f"{MONTH}alice", 450 * USD)
    desk.uses(f"{MONTH}eve", 700 * USD)
    desk.uses("everyone\x1frequests\x1fall", 11)
    page = site.get("/console/budgets", sign_in(site, "operators")).text
    eve, alice, bob, everyone = rows(page)
    assert eve.startswith("eve 140% used up $700.00 $0.00 $500.00 USD 20")
    assert alice.startswith("alice 90% warning $450.00 $0.00 $500.00 USD")
    assert bob.startswith("bob 20% within limit $100.00")
    assert everyone.startswith("all 110% beyond the limit 11 0 10 requests")
    assert "Warning from 80% on" in page and "for each value of jwt.sub" in page
    assert "Nothing is refused." in page and "Calls beyond it go to the model claude-small, or are refused." in page


def test_a_meter_says_in_words_what_it_draws(site: Site, desk: Desk) -> None:
    desk.uses(f"{MONTH}alice", 450 * USD)
    page = site.get("/console/budgets", sign_in(site, "operators")).text
    [meter] = re.findall(r'<div role="meter".*?</div>', page)
    assert 'aria-label="person-month, alice"' in meter and 'aria-valuenow="90"' in meter
    assert 'aria-valuetext="90% taken, 0% of the limit reserved, warning from 80% on"' in meter
    assert '<rect class="warning" y="1" width="90.00"' in meter and 'x1="80" x2="80"' in meter


def test_a_developer_sees_their_own_alone(site: Site, desk: Desk) -> None:
    """As at `GET /v1/usage`: also where nothing is used, and without budgets that read the model."""
    desk.uses(f"{MONTH}bob", 100 * USD)
    desk.uses(f"{MONTH}alice", 450 * USD)
    desk.uses("by-model\x1ftokens\x1fx", 5)
    browser = sign_in(site)
    page = site.get("/console/budgets", browser).text
    assert [row.split()[0] for row in rows(page)] == ["alice", "all", "all"]
    assert "bob" not in page and "by-model" not in page and "jwt.sub" not in page
    for query in ("?budget=by-model", "?budget=person-month&page=1", "?format=csv&table=person-month"):
        assert "bob" not in site.get(f"/console/budgets{query}", browser).text


def test_what_was_changed_by_hand(site: Site, desk: Desk) -> None:
    until = site.now() + 3600
    desk(Path(), BudgetCommand("set", "person-month", "alice", 600, until=until))
    desk(Path(), BudgetCommand("grant", "person-month", "alice", 50, until=until))
    page = site.get("/console/budgets", sign_in(site)).text
    [row] = [row for row in rows(page) if row.startswith("alice")]
    assert "$650.00" in row and "set by hand until" in row and "$50.00 granted until" in row
    assert row.endswith("configured: $500.00")


def test_a_limit_of_nothing(site: Site, desk: Desk) -> None:
    desk(Path(), BudgetCommand("set", "person-month", "alice", 0))
    desk(Path(), BudgetCommand("set", "everyone", "all", 0, "tokens"))
    desk(Path(), BudgetCommand("set", "by-model", "large", 0))
    alice, everyone, large = rows(site.get("/console/budgets", sign_in(site, "operators")).text)
    assert alice.startswith("alice 0% refuses every call") and everyone.startswith("all 0% within limit")
    assert large.startswith("large 0% moves every call")


def test_a_change_that_was_kept_without_a_bound(site: Site, desk: Desk) -> None:
    change = Change(1, "olga", "api", "set", f"{MONTH}bob", 1, 2)
    override = Override(2 * USD, MAX_TIME + 1)
    asyncio.run(desk.keeper.override(f"{MONTH}bob", lambda _: (override, change)))
    assert "set by hand until 9999-12-31 23:59" in site.get("/console/budgets", sign_in(site, "operators")).text


def test_more_keys_than_are_shown(site: Site, desk: Desk) -> None:
    for number in range(1, 131):
        desk.uses(f"{MONTH}p{number:03}", number * USD)
    browser = sign_in(site, "operators")
    page = site.get("/console/budgets", browser).text
    assert [row.split()[0] for row in rows(page)] == [f"p{number:03}" for number in range(130, 120, -1)]
    assert "Not shown, with smaller shares: 120." in page and "Show all 130 of person-month" in page
    second = site.get("/console/budgets?budget=person-month&page=2", browser).text
    assert len(rows(second)) == 30 and "101 to 130 of 130" in second
    assert ">Previous</a>" in second and ">Next</a>" not in second
    csv = site.get("/console/budgets?format=csv&table=person-month", browser).text.splitlines()
    assert csv[0] == "key,share,state,used,reserved,limit,measure,resets,changed" and len(csv) == 131
    assert csv[1].startswith("p130,0.26,within limit,130,0,500,USD,20")


@pytest.mark.parametrize(
    "query", ["budget=nobody", "budget=person-month&page=0", "budget=person-month&page=x", "format=csv&table=nobody"]
)
def test_queries_that_cannot_be_read(site: Site, query: str) -> None:
    assert site.get(f"/console/budgets?{query}", sign_in(site)).status_code == 400


def test_a_key_is_text(site: Site, desk: Desk) -> None:
    desk.uses(f"{MONTH}<script>\x1b", USD)
    page = site.get("/console/budgets", sign_in(site, "operators")).text
    assert "<script" not in page and "&lt;script&gt;?" in page


def test_a_supervisor_that_does_not_answer(site: Site) -> None:
    def fail(*_: object) -> BudgetAnswer:
        raise Unreachable("no")

    site.ask_budgets = fail
    site.restart()
    answer = site.get("/console/budgets", sign_in(site))
    assert answer.status_code == 503 and "No figures" in answer.text


def test_a_store_that_is_down(site: Site) -> None:
    site.ask_budgets = lambda *_: BudgetAnswer(problem="the counters cannot be used: redis.internal:6379")
    site.restart()
    answer = site.get("/console/budgets", sign_in(site, "operators"))
    assert answer.status_code == 503 and "redis.internal" not in answer.text


def test_no_budgets(tmp_path: Path) -> None:
    with Site(tmp_path, {"allow": ['"developers" in jwt.groups']}) as made:
        made.ask_budgets = Desk(made)
        made.restart()
        assert "No budgets are configured" in made.get("/console/budgets", sign_in(made)).text


def test_a_budget_that_does_not_know_the_person(tmp_path: Path) -> None:
    more = BUDGETS + "  - {name: team, key: jwt.team, limit: {usd: 1}, per: day}\n"
    with Site(tmp_path, {"allow": ['"developers" in jwt.groups']}, more=more) as made:
        made.ask_budgets = Desk(made)
        made.restart()
        answer = made.get("/console/budgets", sign_in(made))
        assert answer.status_code == 200 and "does not say what the budget team needs to know" in answer.text
        assert made.get("/console/budgets", sign_in(made, "operators")).status_code == 200
