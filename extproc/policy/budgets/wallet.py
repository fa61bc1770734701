"""What a worker may use of limits that all workers share: it takes slices of them, and spends these without asking."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from extproc.store.counters import Claim, LocalCounters, Settlement, Taken

MAX_SLICES = 10_000
AS_CLAIMED = Taken([], [], [])


class Bank(Protocol):
    """Where a worker takes amounts."""

    async def take(self, claims: Sequence[Claim]) -> Taken | None:
        """Takes all claims or none; None: the counters cannot be reached."""

    def settle(self, settlements: list[Settlement], call: str = "") -> None:
        """Returns at once. `call`: the id of the one that has ended, if one has."""


class LocalBank:
    """The counters of a worker without a supervisor."""

    def __init__(self) -> None:
        self.counters = LocalCounters()

    async def take(self, claims: Sequence[Claim]) -> Taken | None:
        return self.counters.take_now("", claims, 1)

    def settle(self, settlements: list[Settlement], call: str = "") -> None:
        self.counters.settle_now("", settlements)


class Use(NamedTuple):
    """What is used of an account, as far as this worker knows, a call's own reservation included."""

    used: int
    limit: int


class _Slice:
    """The amounts of one account that this worker may spend."""

    __slots__ = ("configured", "idle", "is_kept", "limit", "used")

    def __init__(self) -> None:
        self.idle = 0
        """What was taken and is not reserved for a call."""
        self.is_kept = False
        """What is idle stays here; otherwise it goes back at once."""
        self.used = 0
        self.configured = 0
        """The limit of the configuration that the slice was taken with."""
        self.limit = 0
        """What it is in fact; somebody may have changed it by hand."""


class Wallet:
    """One per worker; outlives configurations."""

    def __init__(self, bank: Bank | None = None) -> None:
        self._bank = bank or LocalBank()
        self._slices: OrderedDict[str, _Slice] = OrderedDict()

    async def reserve(self, claims: Sequence[Claim]) -> Taken | None:
        """Reserves all claims or none. Returns what was refused, or what is reserved of each claim, which is less where
        the limit is smaller than the claim; AS_CLAIMED: slices were enough; None: the counters cannot be reached."""
        missing: list[Claim] = []
        for claim in claims:
            mine = self._slice(claim.account)
            if mine.idle >= claim.amount and mine.is_kept and mine.configured == claim.limit:
                mine.idle -= claim.amount
            else:
                missing.append(claim)
        if not missing:
            return AS_CLAIMED
        asked = {id(claim) for claim in missing}
        kept = [claim for claim in claims if id(claim) not in asked]
        try:
            taken = await self._bank.take(missing)
        except BaseException:  # the call is gone
            self.settle(kept, [0] * len(kept))
            raise
        if taken is None or taken.refused >= 0:
            self.settle(kept, [0] * len(kept))
            return taken if taken is None else _of_all(taken, claims, missing)
        amounts = {}
        for claim, granted, used, most in zip(missing, taken.granted, taken.used, taken.limits, strict=True):
            mine, amount = self._slice(claim.account), min(granted, claim.amount)
            amounts[id(claim)] = amount
            mine.idle += granted - amount
            mine.is_kept, mine.used = granted > amount, used + granted
            mine.configured, mine.limit = claim.limit, most
        return Taken([amounts.get(id(claim), claim.amount) for claim in claims], [], [])

    async def look(self, claims: Sequence[Claim]) -> list[Use] | None:
        """What is used of each account at the moment, reservations included; the claims only ask. None: the
        counters cannot be reached."""
        taken = await self._bank.take(claims) if claims else AS_CLAIMED
        return [Use(*pair) for pair in zip(taken.used, taken.limits, strict=True)] if taken is not None else None

    def use(self, claim: Claim) -> Use:
        """What is known of the account, whether or not something is reserved."""
        known = self._slices.get(claim.account)
        return Use(known.used - known.idle, known.limit) if known is not None and known.limit else Use(0, claim.limit)

    def settle(self, claims: Sequence[Claim], used: Sequence[int], call: str = "") -> None:
        """The call is over for which these claims were reserved, and has used so much of each. `call`: its id, if it
        was sent."""
        settlements = []
        for claim, amount in zip(claims, used, strict=True):
            mine = self._slices.get(claim.account) or self._slice(claim.account)
            held = mine.idle + claim.amount
            released = min(amount, held)
            mine.idle = held - released
            if not mine.is_kept:
                released, mine.idle = released + mine.idle, 0
            mine.used += amount - released
            if amount or released:
                settlements.append(Settlement(claim.account, claim.bucket, claim.ends, amount, released))
        if settlements or call:
            self._bank.settle(settlements, call)

    def give_back(self, accounts: Sequence[str] | None = None) -> None:
        """What is idle in these accounts goes back; None: in all."""
        names = list(self._slices) if accounts is None else [name for name in accounts if name in self._slices]
        found = [(name, self._slices[name]) for name in names]
        returned = [Settlement(name, 0, 0, 0, mine.idle) for name, mine in found if mine.idle]
        for _, mine in found:
            mine.idle, mine.is_kept = 0, False
        if returned:
            self._bank.settle(returned)

    def _slice(self, account: str) -> _Slice:
        found = self._slices.get(account)
        if found is None:
            found = self._slices[account] = _Slice()
            while len(self._slices) > MAX_SLICES:
                oldest = next(iter(self._slices))
                self.give_back([oldest])
                del self._slices[oldest]
        else:
            self._slices.move_to_end(account)
        return found


def _of_all(taken: Taken, claims: Sequence[Claim], missing: Sequence[Claim]) -> Taken:
    """A refusal that names the claim by its place among all claims, and tells that claim's use and limit alone."""
    asked = taken.refused
    place = next(index for index, claim in enumerate(claims) if claim is missing[asked])
    return Taken([], taken.used[asked : asked + 1], taken.limits[asked : asked + 1], place, taken.may_fit_later)
