"""A limit of attempts by address, in the memory of the one process that serves pages."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_ADDRESSES = 20_000


class RateLimit:
    """At most `limit` in `seconds` for each address; an IPv6 network of 64 bits counts as one."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str) -> bool:
        """Counts one more. False: that is too many."""
        key, now = _network(address), self._clock()
        begun, count = self._counts.pop(key, (now, 0))
        if now - begun >= self._seconds:
            begun, count = now, 0
        self._counts[key] = begun, count + 1
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        return count < self._limit

    def allows(self, address: str) -> bool:
        """Whether there may be another, without counting it."""
        begun, count = self._counts.get(_network(address), (0.0, 0))
        return count < self._limit or self._clock() - begun >= self._seconds


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False).network_address)
