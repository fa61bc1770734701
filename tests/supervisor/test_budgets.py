"""What the supervisor does while its counters cannot be read or written, and while it waits for workers."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from extproc.policy.budgets.used import of_budgets
from extproc.store.counters import Claim, KeptCounters, Settlement, Taken
from extproc.store.opening import state_folder
from extproc.store.overrides import COUNTERS, Change, Override
from extproc.supervisor import budgets
from extproc.supervisor.budgets import RECALL_SECONDS, BudgetKeeper
from extproc.transport.orders import BudgetRecall, BudgetReply, BudgetRequest
from tests.settings import GATEWAY, source
from tests.supervisor.test_budget_commands import ACCOUNT, BUDGETS, NOW, Desk, play

BUDGET = "budgets: [{name: b, key: jwt.sub, limit: {requests: 3}, per: month}]\n"
BEGINS, ENDS = 100, 2**33


async def taken(keeper: BudgetKeeper) -> Taken | None:
    """The answer to a claim; None: the counters cannot be reached."""
    replies: asyncio.Queue[BudgetReply] = asyncio.Queue()
    keeper.heard("w", BudgetRequest(1, [Claim("b\x1frequests\x1fann", 1, 3, BEGINS, BEGINS, ENDS)]), replies.put_nowait)
    return (await replies.get()).taken


def test_counters_that_cannot_be_read_at_the_start_count_as_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit that is used up does not begin anew. Once the file can be read, it holds."""
    monkeypatch.setattr(budgets, "KEEP_SECONDS", 0.01)
    state, aside = tmp_path / "state", tmp_path / "aside"
    kept = KeptCounters(state)
    kept.add({("b\x1frequests\x1fann", BEGINS): (3, ENDS)})
    kept.close()
    state.rename(aside)
    state.write_text("a file in the place of the folder")

    async def scene() -> None:
        keeper = BudgetKeeper(lambda _: None)
        keeper.use(source(tmp_path, GATEWAY + BUDGET), {})
        running = asyncio.create_task(keeper.run())
        for _ in range(3):
            assert await taken(keeper) is None
        state.unlink()
        aside.rename(state)
        async with asyncio.timeout(10):
            while (answer := await taken(keeper)) is None:
                pass
        assert answer.refused == 0 and answer.used == [3]
        running.cancel()

    with caplog.at_level(logging.WARNING, "extproc"):
        asyncio.run(asyncio.wait_for(scene(), 30))
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and said[0].startswith("counters of budgets cannot be kept: its folder cannot be used")
    assert said[1] == "counters of budgets can be kept again"


def test_slices_of_a_raise_that_has_ended_are_called_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "KEEP_SECONDS", 0.01)
    name = "b\x1frequests\x1fann"
    recalled: asyncio.Queue[BudgetRecall] = asyncio.Queue()
    change = Change(at=1, by="olga", via="command", action="grant", account=name, old=3, new=100)

    async def scene() -> None:
        keeper = BudgetKeeper(recalled.put_nowait)
        keeper.use(source(tmp_path, GATEWAY + BUDGET), {})
        raised = Override(grants=[(97, round(time.time()) + 1)])
        await keeper.override(name, lambda _: (raised, change))
        assert await recalled.get() == BudgetRecall([name])
        running = asyncio.create_task(keeper.run())
        async with asyncio.timeout(10):
            assert await recalled.get() == BudgetRecall([name])
        assert keeper.limit(name, 3) == 3
        running.cancel()

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_counting_goes_on_whatever_the_store_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(budgets, "KEEP_SECONDS", 0.01)
    rounds: asyncio.Queue[int] = asyncio.Queue()

    async def fails(self: BudgetKeeper) -> None:
        rounds.put_nowait(1)
        raise ValueError("no number")

    async def scene() -> None:
        keeper = BudgetKeeper(lambda _: None)
        keeper.use(source(tmp_path, GATEWAY + BUDGET), {})
        monkeypatch.setattr(BudgetKeeper, "_keep", fails)
        running = asyncio.create_task(keeper.run())
        async with asyncio.timeout(10):
            for _ in range(3):
                await rounds.get()
        assert not keeper.is_up
        running.cancel()

    with caplog.at_level(logging.WARNING, "extproc"):
        asyncio.run(asyncio.wait_for(scene(), 30))
    assert [one.message for one in caplog.records] == ["counters of budgets cannot be kept: ValueError"]


def test_counters_that_could_not_be_read_are_down_and_not_empty(tmp_path: Path) -> None:
    folder = state_folder(source(tmp_path, GATEWAY + BUDGETS))
    folder.mkdir(parents=True)
    (folder / COUNTERS).write_bytes(b"garbage" * 1000)

    async def scene(desk: Desk) -> None:
        for words in (("list",), ("audit",), ("set", "team", "data", 5, "requests")):
            answer = await desk.does(*words)
            assert answer.store_down and "could not be read" in answer.problem

    play(Desk(tmp_path, ""), scene)


def test_a_file_that_another_process_writes_holds_up_nobody_else(tmp_path: Path) -> None:
    """Workers ask for amounts while a change waits for the file."""
    desk = Desk(tmp_path, "")
    file = state_folder(source(tmp_path, GATEWAY + BUDGETS)) / COUNTERS

    async def scene(desk: Desk) -> None:
        for words in (("set", "team", "data", 5, "requests"), ("reset", "team", "data", None, "requests")):
            with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                changing = asyncio.create_task(desk.does(*words))
                async with asyncio.timeout(3):
                    assert await desk.claims(1)
                await desk.uses(1)
                assert not changing.done()
                other.execute("COMMIT")
                assert (await changing).problem == ""
        [line] = (await desk.does("list", accounts=[ACCOUNT])).lines
        assert (line.limit, line.used) == (5, 1), "what is used while a reset waits counts"

    play(desk, scene)


def test_who_asks_what_is_used_sees_nothing_of_what_workers_keep(tmp_path: Path) -> None:
    """A question brings slices back; a claim of a call that costs nothing does not, and waits for nobody."""

    async def scene() -> None:
        desk = Desk(tmp_path, "")
        replies: asyncio.Queue[BudgetReply] = asyncio.Queue()
        desk.keeper.started("w")
        nothing = Claim(ACCOUNT, 0, 1000, int(NOW), int(NOW), 2**33)
        desk.keeper.heard("w", BudgetRequest(1, [msgspec.structs.replace(nothing, amount=1)]), replies.put_nowait)
        kept = (await replies.get()).taken
        assert kept is not None and kept.granted[0] > 1
        desk.keeper.heard("w", BudgetRequest(2, [nothing]), replies.put_nowait)
        await replies.get()
        assert desk.recalled == []
        asked = msgspec.structs.replace(nothing, observed=True, only_asks=True)
        desk.keeper.heard("w", BudgetRequest(3, [asked]), replies.put_nowait)
        for _ in range(3):  # until the question waits
            await asyncio.sleep(0)
        assert desk.recalled == [BudgetRecall([ACCOUNT])]
        returned = Settlement(ACCOUNT, 0, 0, 0, kept.granted[0] - 1)
        desk.keeper.heard("w", BudgetRequest(settlements=[returned]), replies.put_nowait)
        for _ in range(3):
            await asyncio.sleep(0)
        assert replies.empty(), "the worker may have more to give back"
        began = asyncio.get_running_loop().time()
        desk.keeper.heard("w", BudgetRequest(recalled=True), replies.put_nowait)
        shown = (await replies.get()).taken
        assert shown is not None and shown.used == [1]
        assert asyncio.get_running_loop().time() - began < RECALL_SECONDS

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_a_list_has_what_workers_had_not_told_yet(tmp_path: Path) -> None:
    async def scene() -> None:
        desk = Desk(tmp_path, "")
        desk.keeper.started("w")
        listing = asyncio.create_task(desk.does("list"))
        for _ in range(3):  # until the list waits
            await asyncio.sleep(0)
        assert desk.recalled == [BudgetRecall([])]
        settled = Settlement(ACCOUNT, int(NOW), 2**33, 3, 3)
        desk.keeper.heard("w", BudgetRequest(settlements=[settled], recalled=True), lambda _: None)
        assert [line.used for line in (await listing).lines] == [3]

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_who_ends_charges_what_no_worker_has_settled(tmp_path: Path) -> None:
    account = "b\x1frequests\x1fann"
    line = {"time": "2026-11-30T09:30:00Z", "request_id": "req_1", "gen_ai.request.stream": True}

    async def scene() -> list[int]:
        keeper = BudgetKeeper(lambda _: None)
        configured = source(tmp_path, GATEWAY + BUDGET)
        keeper.use(configured, {})
        keeper.expect_log()
        running = asyncio.create_task(keeper.run())
        keeper.log({**line, **of_budgets([account])})
        keeper.log({**line, **of_budgets([account]), "request_id": "req_2"})
        keeper.heard("w", BudgetRequest(ended=["req_2"]), lambda _: None)
        await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        kept = KeptCounters(state_folder(configured))
        return [used for name, _, _, used in kept.rows(0) if name == account]

    assert asyncio.run(asyncio.wait_for(scene(), 30)) == [1]
