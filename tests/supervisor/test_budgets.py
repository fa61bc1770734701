"""What the supervisor does while nobody knows what is used of a limit."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from extproc.store.counters import Claim, KeptCounters, Taken
from extproc.store.overrides import Change, Override
from extproc.supervisor import budgets
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.orders import BudgetRecall, BudgetReply, BudgetRequest
from tests.settings import GATEWAY, source

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
        asyncio.run(scene())
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

    asyncio.run(scene())


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
        asyncio.run(scene())
    assert [one.message for one in caplog.records] == ["counters of budgets cannot be kept: ValueError"]
