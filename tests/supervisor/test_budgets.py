"""What the supervisor does while nobody knows what is used of a limit."""

import asyncio
import logging
from pathlib import Path

import pytest

from extproc.store.counters import Claim, KeptCounters, Taken
from extproc.supervisor import budgets
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.orders import BudgetReply, BudgetRequest
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
