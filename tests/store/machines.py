"""Several machines that share counters in one Redis, and what they claim and settle."""

import time

from extproc.store.counters import Claim, Settlement
from extproc.store.shared_counters import SharedCounters

NOW = int(time.time())
Machines = list[SharedCounters]


def claim(amount: int, limit: int = 10, *, account: str = "a", bucket: int = NOW, oldest: int = NOW) -> Claim:
    return Claim(account, amount, limit, bucket, oldest, bucket + 3600)


def settled(used: int, released: int, account: str = "a", bucket: int = NOW) -> Settlement:
    return Settlement(account, bucket, bucket + 3600, used, released)


async def used(machine: SharedCounters, account: str = "a") -> int:
    """What is used or held."""
    return (await machine.take("?", [claim(0, 2**50, account=account)], 1)).used[0]
