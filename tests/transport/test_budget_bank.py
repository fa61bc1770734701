"""When a worker tells the supervisor what calls have used of budgets."""

import asyncio
from collections.abc import Sequence

import pytest

from extproc.policy.budgets.wallet import Wallet
from extproc.store.counters import Claim, LocalCounters, Settlement, Taken
from extproc.transport import orders
from extproc.transport.budget_bank import MAX_SETTLEMENTS, SupervisorsBank
from extproc.transport.orders import BudgetRequest

SPENT = Settlement("a", 100, 2**40, 3, 3)
"""A slice is used up by so much."""
BEYOND, FREED = Settlement("a", 100, 2**40, 5, 3), Settlement("a", 100, 2**40, 1, 3)
SECONDS = 20.0


class Pipe:
    """The lines of a worker, as its supervisor reads them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self.heard: list[BudgetRequest] = []
        self.came = asyncio.Event()
        patch.setattr(orders, "can_say", lambda *_: not self.is_full)
        patch.setattr(orders, "write_lines", self._write)

    def _write(self, line: str) -> None:
        request = orders.budgets(line)
        assert request is not None and len(line) < 4096
        self.heard.append(request)
        self.came.set()

    async def settlements(self) -> list[Settlement]:
        """Waits for a line."""
        async with asyncio.timeout(SECONDS):
            await self.came.wait()
        self.came.clear()
        return self.heard[-1].settlements


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    return Pipe(monkeypatch)


def test_calls_that_spend_slices_share_a_line(pipe: Pipe) -> None:
    async def scene() -> None:
        bank = SupervisorsBank()
        for _ in range(5):
            bank.settle([SPENT])
        assert pipe.heard == []
        assert await pipe.settlements() == [SPENT] * 5
        bank.settle([SPENT])
        assert await pipe.settlements() == [SPENT] and len(pipe.heard) == 2

    asyncio.run(scene())


@pytest.mark.parametrize("urgent", [BEYOND, FREED], ids=["used beyond what was held", "free again"])
def test_what_changes_the_room_below_a_limit_is_told_at_once(pipe: Pipe, urgent: Settlement) -> None:
    async def scene() -> None:
        bank = SupervisorsBank()
        bank.settle([SPENT])
        bank.settle([SPENT, urgent])
        assert [one.settlements for one in pipe.heard] == [[SPENT, SPENT, urgent]]

    asyncio.run(scene())


def test_what_is_called_back_is_told_before_it_is_said_to_be_back(pipe: Pipe) -> None:
    async def scene() -> None:
        bank = SupervisorsBank()
        bank.settle([SPENT])
        bank.recalled()
        assert [(one.settlements, one.recalled) for one in pipe.heard] == [([SPENT], False), ([], True)]

    asyncio.run(scene())


def test_a_pipe_that_is_full_is_tried_again(pipe: Pipe) -> None:
    async def scene() -> None:
        bank = SupervisorsBank()
        pipe.is_full = True
        many = [Settlement(f"a-{n}", 100, 2**40, 5, 3) for n in range(2 * MAX_SETTLEMENTS + 1)]
        bank.settle(many)
        bank.recalled()
        assert pipe.heard == []
        pipe.is_full = False
        while len(pipe.heard) < 3:
            await pipe.settlements()
        assert [one for request in pipe.heard for one in request.settlements] == many

    asyncio.run(scene())


def test_what_waits_changes_nothing_of_what_counts_against_a_limit(pipe: Pipe) -> None:
    """So no other worker gets more of it than if it had been told."""
    counters, claim = LocalCounters(), Claim("a", 3, 10_000, 100, 100, 2**40)

    class Bank(SupervisorsBank):
        async def take(self, claims: Sequence[Claim]) -> Taken:
            return counters.take_now("w", claims, 1)

    def counted() -> int:
        return counters.take_now("?", [Claim("a", 0, 2**50, 100, 100, 2**40)], 1).used[0]

    async def scene() -> None:
        wallet = Wallet(Bank())
        for used in (3, 1, 0, 2):
            await wallet.reserve([claim])
            wallet.settle([claim], [used])
        assert pipe.heard == []
        before = counted()
        counters.settle_now("w", await pipe.settlements())
        assert counted() == before > 6

    asyncio.run(scene())


def test_a_line_names_the_calls_whose_last_settlements_it_has(pipe: Pipe) -> None:
    """A worker that is killed between two lines would have its calls charged again by the log."""

    async def scene() -> None:
        bank = SupervisorsBank()
        bank.settle([SPENT] * MAX_SETTLEMENTS, "req_1")
        bank.settle([SPENT], "req_2")
        bank.settle([], "req_3")
        bank.settle([BEYOND])
        first, last = pipe.heard
        assert (first.ended, last.ended) == (["req_1"], ["req_2", "req_3"])
        assert len(first.settlements) == MAX_SETTLEMENTS and last.settlements == [SPENT, BEYOND]

    asyncio.run(scene())
