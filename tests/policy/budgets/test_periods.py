from datetime import UTC, datetime

import pytest

from extproc.policy.budgets.periods import BUCKETS, Periods


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("per", "zone", "now", "begins", "resets"),
    [
        ("minute", "UTC", "2026-11-30T04:05:06+00:00", "2026-11-30T04:05:00+00:00", "2026-11-30T04:06:00+00:00"),
        ("hour", "UTC", "2026-11-30T04:05:06+00:00", "2026-11-30T04:00:00+00:00", "2026-11-30T05:00:00+00:00"),
        ("hour", "Asia/Kolkata", "2026-11-30T04:45:00+00:00", "2026-11-30T10:00+05:30", "2026-11-30T11:00+05:30"),
        ("day", "Europe/Berlin", "2026-11-29T23:30:00+00:00", "2026-11-30T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("week", "UTC", "2026-12-02T10:00:00+00:00", "2026-11-30T00:00:00+00:00", "2026-12-07T00:00:00+00:00"),
        ("month", "Europe/Berlin", "2026-12-31T22:59:59+00:00", "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("month", "UTC", "2028-02-29T12:00:00+00:00", "2028-02-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00"),
        # The day on which summer time begins has 23 hours, the one on which it ends 25.
        ("day", "Europe/Berlin", "2026-03-29T12:00:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
    ],
)
def test_a_period_of_the_calendar(per: str, zone: str, now: str, begins: str, resets: str) -> None:
    found = Periods(per, zone, 0).at(unix(now))
    assert (found.bucket, found.oldest, found.resets) == (unix(begins), unix(begins), unix(resets))
    assert found.ends == found.resets


def test_each_moment_of_a_changing_clock_is_in_its_period() -> None:
    """Across both changes of 2026, in steps of a minute."""
    for day in ("2026-03-29", "2026-10-25"):
        start = int(datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=UTC).timestamp()) - 7200
        for per in ("minute", "hour", "day"):
            periods = Periods(per, "Europe/Berlin", 0)
            for now in range(start, start + 8 * 3600, 60):
                found = periods.at(now + 0.5)
                assert found.bucket <= now < found.resets, (per, now)


def test_a_rolling_period_counts_what_is_not_older_than_it() -> None:
    periods = Periods("1h", "UTC", 3600)
    now = 1_000_000_000
    found = periods.at(now)
    assert now - 3600 - 60 < found.oldest <= now - 3600
    assert found.bucket <= now < found.resets == found.bucket + 3600 // BUCKETS
    later = periods.at(now + 3600 + 60)
    assert later.oldest > found.bucket, "what was used an hour and a step ago counts no more"
    assert found.ends <= now + 3600 + 60


def test_a_clock_that_is_set_back_gets_its_own_period() -> None:
    periods = Periods("day", "UTC", 0)
    later, earlier = unix("2026-11-30T12:00:00+00:00"), unix("2026-11-20T12:00:00+00:00")
    assert periods.at(later).bucket == unix("2026-11-30T00:00:00+00:00")
    assert periods.at(earlier).bucket == unix("2026-11-20T00:00:00+00:00")
