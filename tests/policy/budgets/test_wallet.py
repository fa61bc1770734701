"""Workers together never use more than a limit allows, whatever they do at the same time."""

import asyncio
import random
from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from extproc.policy.budgets.wallet import AS_CLAIMED, MAX_SLICES, Wallet
from extproc.store.counters import Claim, LocalCounters, Settlement, Taken


class Shared:
    """A bank of one worker; all of them have the same counters."""

    def __init__(self, counters: LocalCounters, name: str, holders: int, chance: random.Random | None = None) -> None:
        self.counters, self.name, self.holders = counters, name, holders
        self.asked = 0
        self.is_down = False
        self.never_answers = False
        self._chance = chance

    async def take(self, claims: Sequence[Claim]) -> Taken | None:
        self.asked += 1
        if self.never_answers:
            await asyncio.Event().wait()
        for _ in range(self._chance.randrange(3) if self._chance else 0):
            await asyncio.sleep(0)
        return None if self.is_down else self.counters.take_now(self.name, claims, self.holders)

    def settle(self, settlements: list[Settlement], call: str = "") -> None:
        self.counters.settle_now(self.name, settlements)


def claim(amount: int, limit: int, account: str = "a", *, observed: bool = False) -> Claim:
    return Claim(account, amount, limit, 100, 100, 2**40, observed)


def used(counters: LocalCounters, account: str = "a") -> int:
    """What is used or held."""
    return counters.take_now("?", [claim(0, 2**50, account)], 1).used[0]


def test_slices_save_questions_and_leave_exactly_the_limit() -> None:
    counters = LocalCounters()
    bank = Shared(counters, "w", 1)
    wallet = Wallet(bank)

    async def calls() -> int:
        passed = 0
        for _ in range(1100):
            taken = await wallet.reserve([claim(1, 1000)])
            assert taken is not None
            if taken.refused < 0:
                wallet.settle([claim(1, 1000)], [1])
                passed += 1
        return passed

    assert asyncio.run(calls()) == 1000
    assert used(counters) == 1000
    assert bank.asked - 100 < 300, "the hundred that were refused have asked, and few of the others"


def test_many_workers_at_once_stay_within_the_limit() -> None:
    """Each call uses at most what it reserved."""
    for seed in range(20):
        chance = random.Random(seed)
        counters = LocalCounters()
        limit = chance.choice([5, 50, 1000, 20_000])
        banks = [Shared(counters, f"w{n}", 4, chance) for n in range(4)]
        wallets = [Wallet(bank) for bank in banks]
        spent: list[int] = []

        async def call(wallet: Wallet, chance: random.Random, limit: int, spent: list[int]) -> None:
            claims = [claim(chance.randrange(1, 6), limit)]
            taken = await wallet.reserve(claims)
            assert taken is not None
            if taken.refused < 0:
                await asyncio.sleep(0)
                amount = chance.randrange(claims[0].amount + 1)
                spent.append(amount)
                wallet.settle(claims, [amount])
            elif chance.random() < 0.5:
                wallet.give_back()

        async def all_of_them() -> None:
            await asyncio.gather(*(call(chance.choice(wallets), chance, limit, spent) for _ in range(3000)))  # noqa: B023

        asyncio.run(all_of_them())
        assert sum(spent) <= limit
        for wallet in wallets:
            wallet.give_back()
        assert used(counters) == sum(spent), "nothing is held any more, and all that was used is counted"


def test_a_call_that_used_more_than_it_reserved_is_charged_all_of_it() -> None:
    counters = LocalCounters()
    wallet = Wallet(Shared(counters, "w", 1))
    claims = [claim(10, 100)]
    asyncio.run(wallet.reserve(claims))
    wallet.settle(claims, [130])
    assert used(counters) == 130
    taken = asyncio.run(wallet.reserve([claim(1, 100)]))
    assert taken is not None and taken.refused == 0 and not taken.may_fit_later


def test_of_several_claims_all_are_granted_or_none() -> None:
    counters = LocalCounters()
    wallet = Wallet(Shared(counters, "w", 1))
    both = [claim(1, 10_000, "large"), claim(3, 5, "small")]
    assert asyncio.run(wallet.reserve(both)) is not None
    taken = asyncio.run(wallet.reserve(both))
    assert taken is not None and taken.refused == 1 and taken.may_fit_later
    wallet.settle(both, [1, 3])
    wallet.give_back()
    assert (used(counters, "large"), used(counters, "small")) == (1, 3)


def test_what_was_taken_from_a_slice_is_back_when_the_counters_are_down() -> None:
    counters = LocalCounters()
    bank = Shared(counters, "w", 1)
    wallet = Wallet(bank)
    asyncio.run(wallet.reserve([claim(1, 10_000, "large")]))
    held = used(counters, "large")
    assert held > 1, "a slice"
    bank.is_down = True
    assert asyncio.run(wallet.reserve([claim(1, 10_000, "large"), claim(1, 5, "small")])) is None
    wallet.settle([claim(1, 10_000, "large")], [0])
    wallet.give_back()
    assert used(counters, "large") == 0


def test_an_observed_budget_grants_beyond_its_limit() -> None:
    counters = LocalCounters()
    wallet = Wallet(Shared(counters, "w", 1))
    claims = [claim(10, 5, observed=True)]
    for _ in range(3):
        taken = asyncio.run(wallet.reserve(claims))
        assert taken is not None and taken.refused < 0
        wallet.settle(claims, [10])
    assert wallet.use(claims[0]) == (30, 5) and used(counters) == 30


def test_slices_of_many_keys_are_bounded() -> None:
    counters = LocalCounters()
    wallet = Wallet(Shared(counters, "w", 1))

    async def calls() -> None:
        for n in range(MAX_SLICES + 50):
            await wallet.reserve([claim(1, 10_000, f"key-{n}")])

    asyncio.run(calls())
    assert used(counters, "key-0") == 1, "what was idle of the oldest is back, what a call has reserved is not"
    assert used(counters, f"key-{MAX_SLICES}") > 1


def test_a_call_that_goes_while_it_waits_leaves_its_slices() -> None:
    counters = LocalCounters()
    bank = Shared(counters, "w", 1)
    wallet = Wallet(bank)
    team, person = claim(10, 100_000, "team"), claim(1, 1, "person")

    async def scene() -> None:
        await wallet.reserve([team])
        wallet.settle([team], [0])
        bank.never_answers = True
        waiting = asyncio.create_task(wallet.reserve([team, person]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        wallet.give_back()

    asyncio.run(scene())
    assert used(counters, "team") == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), max_size=30), st.integers(1, 25))
def test_what_is_reserved_is_what_is_given_back(calls: list[tuple[int, int]], limit: int) -> None:
    """Calls that are larger than the limit among them; each is begun, and ended at some later time."""
    counters = LocalCounters()
    wallet = Wallet(Shared(counters, "w", 2))
    running: list[tuple[Claim, int]] = []
    charged = 0

    async def scene() -> None:
        nonlocal charged
        for amount, uses in calls:
            asked = claim(amount, limit)
            taken = await wallet.reserve([asked])
            assert taken is not None
            if taken.refused < 0:
                [reserved] = [amount] if taken is AS_CLAIMED else taken.granted
                assert reserved == min(amount, limit)
                running.append((msgspec.structs.replace(asked, amount=reserved), min(uses, reserved)))
            elif running:
                one, used_up = running.pop(0)
                wallet.settle([one], [used_up])
                charged += used_up
            assert used(counters) <= limit and charged + sum(one.amount for one, _ in running) <= limit
        for one, used_up in running:
            wallet.settle([one], [used_up])
            charged += used_up
        wallet.give_back()

    asyncio.run(scene())
    assert used(counters) == charged


def test_the_end_of_a_call_is_told_also_where_it_used_nothing() -> None:
    told: list[tuple[list[Settlement], str]] = []

    class Told(Shared):
        def settle(self, settlements: list[Settlement], call: str = "") -> None:
            told.append((settlements, call))

    wallet = Wallet(Told(LocalCounters(), "w", 1))

    async def calls() -> None:
        await wallet.reserve([claim(1, 1000)])
        wallet.settle([claim(1, 1000)], [0], "req_1")
        wallet.settle([claim(1, 1000)], [0])

    asyncio.run(calls())
    assert told == [([], "req_1")]
