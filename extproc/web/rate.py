"""Limits in the memory of the one process that serves pages: of attempts by address, and of lines in the log."""

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from extproc.config.schema_limits import REFUSALS_BURST
from extproc.policy.token_bucket import TokenBucket

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

    def __len__(self) -> int:
        """How many networks are counted."""
        return len(self._counts)

    def allows(self, address: str) -> bool:
        """Whether there may be another, without counting it."""
        begun, count = self._counts.get(_network(address), (0.0, 0))
        return count < self._limit or self._clock() - begun >= self._seconds


class LogLimit(logging.Filter):
    """Lets so many warnings and errors a second pass, since strangers can cause them. The next one that passes says how
    many were left out."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._logged = TokenBucket(per_second, REFUSALS_BURST, clock)
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        if not self._logged.take():
            self._left_out += 1
            return False
        if self._left_out:
            record.msg = f"{record.getMessage()} ({self._left_out} such lines were left out before)"
            record.args, self._left_out = (), 0
        return True


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    # As an IPv6 socket shows a peer that came by IPv4: RFC 4291, section 2.5.5.2.
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False).network_address)
