"""What a page is asked to show, and to whom: a time, what to sum up by, and which calls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from extproc.policy.facts import Caller
from extproc.usage.reading import MAX_BUCKETS, Scope

HOUR, DAY = 3_600_000, 86_400_000
"""Milliseconds."""
RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
_LENGTH = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
DEFAULT_RANGE = "7d"
COLUMNS = {"model": "Model", "subject": "Person", "provider": "Provider", "upstream_model": "Model at the provider"}
FAILED = "reason"
_MAX_VALUE = 256


class Visitor(NamedTuple):
    name: str
    subject: str = ""
    issuer: str = ""
    """The issuer of a person who sees their own calls alone."""
    sees_all: bool = False
    caller: Caller | None = None
    """Whose calls to models those of this person would be; None for the person at this machine."""


class Unreadable(Exception):
    """`str()` says what of the query cannot be read."""


@dataclass(frozen=True)
class View:
    since: int
    """Milliseconds since 1970."""
    until: int
    """Not included."""
    range: str
    """One of RANGES; empty where the times were given."""
    by: str
    only: Mapping[str, str]
    """Which calls: values by column or claim."""
    claims: Sequence[str]

    @property
    def step(self) -> int:
        """Milliseconds of one bar."""
        length = self.until - self.since
        fitting = (step for step in (HOUR, DAY, 7 * DAY, 28 * DAY) if length <= _MOST_BARS[step] * step)
        return next(fitting, -(-length // (MAX_BUCKETS - 1) // DAY) * DAY or DAY)

    @property
    def starts(self) -> list[int]:
        """When each bar begins."""
        first = self.since - self.since % self.step
        return list(range(first, self.until, self.step))[:MAX_BUCKETS]

    @property
    def label(self) -> str:
        """The form of a bar's label, for strftime."""
        return "%d %b %H:%M" if self.step < DAY else "%d %b %Y" if self.until - self.since > 300 * DAY else "%d %b"

    @property
    def names(self) -> dict[str, str]:
        """What can be summed up by, with titles."""
        return {**{claim: claim.replace("_", " ").capitalize() for claim in self.claims}, **COLUMNS}

    def scope(self, visitor: Visitor) -> Scope:
        if visitor.sees_all:
            return Scope(self.since, self.until, only=self.only)
        return Scope(self.since, self.until, visitor.subject, visitor.issuer, self.only)

    def url(self, path: str, **changes: str) -> str:
        """Returns a path with this view's query, and these parameters instead of, or besides, its own."""
        found = {**self.query, **changes}
        if "range" in changes:
            found = {name: value for name, value in found.items() if name not in ("since", "until")}
        return f"{path}?{urlencode({name: value for name, value in found.items() if value})}"

    @property
    def query(self) -> dict[str, str]:
        times = {"range": self.range} if self.range else {"since": _date(self.since), "until": _date(self.until - 1)}
        return {**times, "by": self.by, **self.only}


_MOST_BARS = {HOUR: 49, DAY: 100, 7 * DAY: 120, 28 * DAY: 120}


def read(query: Mapping[str, str], claims: Sequence[str], now: float) -> View:
    """Reads a URL's query. `claims`: those that the ledger keeps. `now`: Unix seconds. Raises Unreadable."""
    known = {*claims, *COLUMNS}
    by = query.get("by") or "model"
    if by not in known:
        raise Unreadable(f"calls cannot be summed up by {by[:40]!r}")
    only = {name: query[name][:_MAX_VALUE] for name in (*sorted(known), FAILED) if query.get(name)}
    since, until, chosen = _times(query, now)
    return View(since, until, chosen, by, only, claims)


def _times(query: Mapping[str, str], now: float) -> tuple[int, int, str]:
    """Dates are in UTC, and the last day is included."""
    if not query.get("since") and not query.get("until"):
        name = query.get("range") or DEFAULT_RANGE
        if name not in RANGES:
            raise Unreadable(f"{name[:40]!r} is no length of time that is offered here")
        step = HOUR if name == "24h" else DAY
        until = int(now * 1000) // step * step + step
        return until - _LENGTH[name], until, name
    last = _day(query.get("until")) or datetime.fromtimestamp(now, UTC)
    first = _day(query.get("since")) or last - timedelta(days=6)
    since = _milliseconds(first.replace(hour=0, minute=0, second=0, microsecond=0))
    until = _milliseconds(last.replace(hour=0, minute=0, second=0, microsecond=0)) + DAY
    if since >= until:
        raise Unreadable("the first day is after the last one")
    return since, until, ""


def _day(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Unreadable(f"{text[:40]!r} is no day; expected one such as 2026-11-01") from None
    if not 1970 < found.year < 9000:
        raise Unreadable(f"{text!r} is no day of the ledger's")
    return found


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
