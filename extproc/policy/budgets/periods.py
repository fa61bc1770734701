"""The periods in which a limit may be used up."""

from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

BUCKETS = 60
"""A rolling period moves on in steps of a sixtieth, and counts one step more than it is long."""


class Period(NamedTuple):
    """Unix seconds, as in `store.counters.Claim`."""

    bucket: int
    oldest: int
    ends: int
    resets: int
    """When something is free again: of a rolling period perhaps, of the calendar's for certain."""


ALWAYS = Period(0, 0, 2**40, 0)
"""For what is counted at one time: nothing of it stays used."""


class Periods:
    """One budget's."""

    def __init__(self, per: str, time_zone: str, rolling_seconds: int) -> None:
        """`rolling_seconds`: 0 for a period of the calendar."""
        self._per = per
        self._zone = ZoneInfo(time_zone)
        self._step = max(1, rolling_seconds // BUCKETS)
        self._rolling = rolling_seconds
        self._current = Period(0, 0, 0, 0)

    def at(self, now: float) -> Period:
        """`now`: Unix seconds; it may go backwards."""
        known = self._current
        if not known.bucket <= now < known.resets:
            self._current = known = self._sliding(now) if self._rolling else self._calendar(now)
        return known

    def _sliding(self, now: float) -> Period:
        bucket = int(now // self._step) * self._step
        return Period(bucket, bucket - self._rolling, bucket + self._rolling + self._step, bucket + self._step)

    def _calendar(self, now: float) -> Period:
        here = datetime.fromtimestamp(now, self._zone).replace(second=0, microsecond=0)
        match self._per:
            case "minute":
                start, end = here, here + timedelta(minutes=1)
            case "hour":
                start = here.replace(minute=0)
                end = start + timedelta(hours=1)
            case "day":
                start = here.replace(hour=0, minute=0)
                end = start + timedelta(days=1)
            case "week":
                start = here.replace(hour=0, minute=0) - timedelta(days=here.weekday())
                end = start + timedelta(days=7)
            case _:
                start = here.replace(day=1, hour=0, minute=0)
                end = (start + timedelta(days=32)).replace(day=1)
        began, resets = int(start.timestamp()), int(end.timestamp())
        if not began <= now < resets:  # the hour that a change of the clock repeats or leaves out
            length = 60 if self._per == "minute" else 3600
            began = int(now // length) * length
            resets = began + length
        return Period(began, began, resets, resets)
