"""Limits are changed by hand, on one machine and on several."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_budgets import Budget, BudgetLimit
from extproc.printable import MAX_TIME
from extproc.store.counters import Claim, Settlement
from extproc.store.interface import StoreDown
from extproc.store.overrides import Change, Edit, Override
from extproc.store.redis_client import Script
from extproc.supervisor.budget_commands import carry_out, describe
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.control import BudgetAnswer, BudgetCommand
from extproc.transport.orders import BudgetRecall, BudgetReply, BudgetRequest
from tests.redis_server import RedisServer, redis_server
from tests.settings import GATEWAY, source

NOW = 1_700_000_000.0
BUDGETS = """
budgets:
  - {name: team, key: jwt.team, limit: {usd: 5, requests: 3}, per: month}
  - {name: rolling, key: jwt.team, limit: {tokens: 100}, per: 30d}
"""
ACCOUNT = "team\x1frequests\x1fdata"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["local", "shared"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return ""
    server: RedisServer = request.getfixturevalue("redis")
    return f'store: {{redis: {{url: "{server.url}", prefix: "{tmp_path.name}:"}}}}\n'


class Desk:
    """A supervisor's counters, and what they have sent."""

    def __init__(self, folder: Path, store: str) -> None:
        self.recalled: list[BudgetRecall] = []
        self.keeper = BudgetKeeper(self.recalled.append)
        self.keeper.use(source(folder, GATEWAY + BUDGETS + store), {})

    async def does(self, *words: Any, **more: Any) -> BudgetAnswer:
        return await carry_out(BudgetCommand(*words, **more), self.keeper, NOW)

    async def claims(self, amount: int) -> bool:
        """Whether so many requests are granted."""
        replies: asyncio.Queue[BudgetReply] = asyncio.Queue()
        one = Claim(ACCOUNT, amount, 3, int(NOW), int(NOW), 2**33)
        self.keeper.heard("w", BudgetRequest(1, [one]), replies.put_nowait)
        taken = (await replies.get()).taken
        assert taken is not None
        return taken.refused < 0

    async def uses(self, amount: int) -> None:
        await self.keeper.counters.settle("w", [Settlement(ACCOUNT, int(NOW), 2**33, amount, amount)])


def play(desk: Desk, scene: Callable[[Desk], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            async with asyncio.timeout(30):
                await scene(desk)
        finally:
            await desk.keeper.counters.close()

    asyncio.run(whole())


def test_what_is_used_is_shown_with_its_limit(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        await desk.claims(2)
        await desk.uses(1)
        line = (await desk.does("list")).lines[0]
        assert (line.name, line.key, line.measure) == ("team", "data", "requests")
        assert (line.used, line.reserved, line.limit, line.configured) == (1, 1, 3, 3)
        assert line.resets == 1_701_388_800

    play(Desk(tmp_path, store), scene)


def test_a_bounded_list_begins_with_the_largest_shares(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        for number in range(5):
            one = Settlement(f"team\x1frequests\x1fkey{number}", int(NOW), 2**33, number + 1, 0)
            await desk.keeper.counters.settle("w", [one])
        await desk.keeper.counters.settle("w", [Settlement("rolling\x1ftokens\x1fx", int(NOW), 2**33, 10, 0)])
        answer = await desk.does("list", most=2)
        assert [line.key for line in answer.lines] == ["x", "key4", "key3"]
        assert answer.totals == {"team": 5, "rolling": 1}
        further = await desk.does("list", "team", most=2, skip=2)
        assert [line.key for line in further.lines] == ["key2", "key1"]
        assert further.totals == {"team": 5}

    play(Desk(tmp_path, store), scene)


def test_single_accounts_are_shown_also_where_nothing_is_used(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        await desk.claims(2)
        accounts = [ACCOUNT, "team\x1frequests\x1fnobody", "gone\x1frequests\x1fx"]
        lines = (await desk.does("list", accounts=accounts)).lines
        assert [(line.key, line.reserved, line.limit) for line in lines] == [("data", 2, 3), ("nobody", 0, 3)]

    play(Desk(tmp_path, store), scene)


def test_a_line_says_what_was_changed_by_hand(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        later = 4_000_000_000.0
        await desk.does("set", "team", "data", 5, "requests", until=later)
        await desk.does("grant", "team", "data", 2, "requests", until=later)
        [line] = (await desk.does("list", accounts=[ACCOUNT])).lines
        assert (line.limit, line.configured, line.is_set, line.set_until) == (7, 3, True, later)
        assert line.grants == [(2, later)]

    play(Desk(tmp_path, store), scene)


def test_a_limit_is_set_and_again_as_configured(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        assert await desk.claims(3)
        assert not await desk.claims(2)
        desk.recalled.clear()
        assert (await desk.does("set", "team", "data", 5, "requests")).problem == ""
        assert desk.recalled == [BudgetRecall([ACCOUNT])], "slices of the old limit come back"
        assert await desk.claims(2)
        await desk.does("set", "team", "data", None, "requests")
        assert desk.keeper.limit(ACCOUNT, 3) == 3

    play(Desk(tmp_path, store), scene)


def test_calls_reserve_by_the_limit_in_force(tmp_path: Path, store: str) -> None:
    """All that they may use where it was raised; all of it where it was lowered below one call."""

    async def scene(desk: Desk) -> None:
        await desk.does("set", "team", "data", 20, "requests")
        assert [await desk.claims(8) for _ in range(3)] == [True, True, False]
        await desk.uses(16)
        await desk.does("reset", "team", "data", None, "requests")
        await desk.does("set", "team", "data", 2, "requests")
        assert [await desk.claims(8) for _ in range(2)] == [True, False]

    play(Desk(tmp_path, store), scene)


def test_what_is_granted_comes_on_top_and_ends(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        later = 4_000_000_000.0
        for amount in (2, 1):
            assert (await desk.does("grant", "team", "data", amount, "requests", until=later)).problem == ""
        assert desk.keeper.limit(ACCOUNT, 3) == 6
        assert desk.keeper.changes(ACCOUNT).effective(3, later) == 3

    play(Desk(tmp_path, store), scene)


def test_a_reset_frees_what_was_used(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        await desk.claims(3)
        await desk.uses(3)
        assert not await desk.claims(1)
        assert (await desk.does("reset", "team", "data")).problem == ""
        assert await desk.claims(3)

    play(Desk(tmp_path, store), scene)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("set", "nobody", "data", 5), "there is no budget 'nobody'; there are: team, rolling"),
        (("set", "team", "data", 5), "budget team limits usd, requests: say which with --measure"),
        (("set", "team", "data", 5, "tokens"), "budget team limits usd, requests: say which with --measure"),
        (("set", "team", "data", -5, "usd"), "not negative"),
        (("set", "team", "data", 1e30, "usd"), "not negative"),
        (("grant", "rolling", "data", 5), "say for how long with --until"),
    ],
)
def test_a_mistake_changes_nothing(tmp_path: Path, words: tuple[Any, ...], problem: str) -> None:
    async def scene(desk: Desk) -> None:
        assert problem in (await desk.does(*words)).problem
        assert desk.keeper.changes(ACCOUNT).limit is None

    play(Desk(tmp_path, ""), scene)


def test_a_change_outlives_the_supervisor(tmp_path: Path, store: str) -> None:
    async def first(desk: Desk) -> None:
        await desk.does("set", "team", "data", 5, "requests")

    async def second(desk: Desk) -> None:
        await desk.keeper.refresh()
        assert desk.keeper.limit(ACCOUNT, 3) == 5

    play(Desk(tmp_path, store), first)
    play(Desk(tmp_path, store), second)


def test_every_change_is_in_the_audit(tmp_path: Path, store: str) -> None:
    """With who made it, and what it made of which limit."""

    async def scene(desk: Desk) -> None:
        await desk.does("set", "team", "data", 5, "requests", via="api", by="olga", issuer="https://idp.example")
        await desk.does("grant", "team", "data", 0.5, "usd", via="command", by="root")
        await desk.uses(2)
        await desk.does("reset", "team", "data", None, "requests", by="root")
        found = (await desk.does("audit")).changes
        assert [(one.action, one.measure, one.old, one.new, one.via, one.by) for one in found] == [
            ("reset", "requests", 2, 0, "command", "root"),
            ("grant", "usd", 5, 5.5, "command", "root"),
            ("set", "requests", 3, 5, "api", "olga"),
        ]
        assert (found[2].at, found[2].issuer, found[2].until) == (NOW, "https://idp.example", 0)
        assert found[1].until == 1_701_388_800, "the end of the month"
        assert (await desk.does("audit", entries=1)).changes == found[:1]

    play(Desk(tmp_path, store), scene)


def test_what_fails_after_a_change_is_made_does_not_make_it_a_failure(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that it failed grants it again."""

    async def fails(*_: Any) -> Any:
        raise StoreDown("gone")

    async def scene(desk: Desk) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(desk.keeper.counters, "overrides", fails)
            later = 4_000_000_000.0
            granted = await desk.does("grant", "team", "data", 2, "requests", until=later)
            assert [(one.measure, one.limit) for one in granted.lines] == [("requests", 5)]
            assert await desk.claims(5)
            patch.setattr(desk.keeper.counters, "states", fails)
            assert await desk.does("grant", "team", "data", 3, "requests", until=later) == BudgetAnswer()
        assert len((await desk.does("audit")).changes) == 2
        assert len(desk.recalled) == 2

    play(Desk(tmp_path, store), scene)


def test_a_change_is_made_to_its_end_also_where_nobody_waits(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a change would be in force and in no log, and slices of the old limit would stay out."""

    async def scene(desk: Desk) -> None:
        began, goes_on = asyncio.Event(), asyncio.Event()
        real = desk.keeper.counters.override

        async def slow(account: str, edit: Edit) -> Change:
            change = await real(account, edit)
            began.set()
            await goes_on.wait()
            return change

        monkeypatch.setattr(desk.keeper.counters, "override", slow)
        asking = asyncio.create_task(desk.does("set", "team", "data", 5, "requests"))
        await began.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        goes_on.set()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert "changed by hand" in caplog.text
        assert desk.recalled == [BudgetRecall([ACCOUNT])] and desk.keeper.limit(ACCOUNT, 3) == 5

    play(Desk(tmp_path, store), scene)


def test_a_change_whose_answer_is_lost_may_have_been_made(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(desk: Desk) -> None:
        script = Script.__call__

        async def lost(*arguments: Any) -> Any:
            await script(*arguments)
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(Script, "__call__", lost)
            answer = await desk.does("set", "team", "data", 5, "requests")
        assert answer.maybe_done and answer.problem.startswith("it is unknown whether the change was made")
        assert len((await desk.does("audit")).changes) == 1

    play(Desk(tmp_path, f'store: {{redis: {{url: "{redis.url}", prefix: "{tmp_path.name}:"}}}}\n'), scene)


def test_a_change_that_has_ended_is_no_longer_listed(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        await desk.does("set", "team", "data", 5, "requests", until=NOW + 60)  # long ago
        assert (await desk.does("list", only_changed=True)).lines == []

    play(Desk(tmp_path, store), scene)


def test_a_mistake_is_in_no_audit(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        answer = await desk.does("set", "team", "data", 0.5, "requests")
        assert (answer.problem, answer.field) == ("requests are counted in whole numbers", "amount")
        assert (await desk.does("grant", "team", "data", 1, "usd", until=NOW)).field == "until"
        assert (await desk.does("audit")).changes == []

    play(Desk(tmp_path, ""), scene)


def test_a_limit_is_shown_before_anything_is_used(tmp_path: Path, store: str) -> None:
    async def scene(desk: Desk) -> None:
        await desk.claims(1)
        await desk.does("set", "team", "web", 7.5, "usd")
        assert [(one.key, one.measure) for one in (await desk.does("list")).lines] == [
            ("data", "requests"),
            ("web", "usd"),
        ]
        [line] = (await desk.does("list", only_changed=True)).lines
        assert (line.key, line.set_to, line.limit, line.configured) == ("web", 7.5, 7.5, 5)
        assert (line.created, line.updated) == (NOW, NOW)

    play(Desk(tmp_path, store), scene)


def test_a_change_in_force_is_described() -> None:
    team = Budget(name="team", key="jwt.team", limit=BudgetLimit(usd=5, requests=3), per="month")
    changed = Override(7, until=200, grants=[(2, 150), (5, 90)])

    def described(now: float, account: str = ACCOUNT) -> str:
        return describe(account, changed, {"team": team}, now)

    assert described(100) == "budget team of 'data': requests 9 instead of 3 by hand, until 1970-01-01T00:02:30Z"
    assert described(160) == "budget team of 'data': requests 7 instead of 3 by hand, until 1970-01-01T00:03:20Z"
    beyond = describe(ACCOUNT, Override(9, MAX_TIME + 1), {"team": team}, 100)
    assert beyond.endswith(", until 9999-12-31T23:59:59Z")
    assert described(200) == "" == described(100, "gone\x1frequests\x1fdata")
