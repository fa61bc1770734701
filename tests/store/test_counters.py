import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from extproc.store.counters import KEPT_SECONDS, SWEEP_SECONDS, Claim, KeptCounters, LocalCounters, Settlement, Taken
from extproc.store.interface import StoreDown
from extproc.store.overrides import COUNTERS


def claim(amount: int, limit: int = 10, *, bucket: int = 100, oldest: int = 100) -> Claim:
    return Claim("a", amount, limit, bucket, oldest, bucket + 50)


def settled(used: int, released: int, bucket: int = 100) -> Settlement:
    return Settlement("a", bucket, bucket + 50, used, released)


def test_what_is_held_counts_until_it_is_settled() -> None:
    counters = LocalCounters(lambda: 0.0)
    assert counters.take_now("w", [claim(8)], 1).granted == [8]
    refused = counters.take_now("v", [claim(3)], 1)
    assert (refused.granted, refused.refused, refused.may_fit_later) == ([], 0, True)
    counters.settle_now("w", [settled(2, 8)])
    assert counters.take_now("v", [claim(8)], 1).granted == [8]


def test_a_limit_of_nothing_refuses_also_what_costs_nothing() -> None:
    counters = LocalCounters(lambda: 0.0)
    assert counters.take_now("w", [claim(0, 0)], 1) == Taken([], [0], [0], 0)
    assert counters.take_now("w", [claim(0, 1)], 1).refused == -1


def test_what_a_holder_that_is_gone_held_is_free() -> None:
    counters = LocalCounters(lambda: 0.0)
    counters.take_now("w", [claim(8)], 1)
    asyncio.run(counters.end("w"))
    assert counters.take_now("v", [claim(10)], 1).refused == -1


def test_a_new_period_begins_with_nothing_used_and_an_older_buckets_settlement_counts_there() -> None:
    counters = LocalCounters(lambda: 0.0)
    counters.take_now("w", [claim(10)], 1)
    assert counters.take_now("w", [claim(1, bucket=150, oldest=150)], 1).refused == 0, "it is held over the change"
    counters.settle_now("w", [settled(10, 10)])
    assert counters.take_now("w", [claim(10, bucket=150, oldest=150)], 1).refused == -1


def test_of_a_rolling_period_every_bucket_counts_that_is_not_too_old() -> None:
    counters = LocalCounters(lambda: 0.0)
    counters.settle_now("w", [settled(4, 0, 100), settled(4, 0, 110)])
    assert counters.take_now("w", [claim(3, bucket=120, oldest=100)], 1).refused == 0
    assert counters.take_now("w", [claim(3, bucket=120, oldest=110)], 1).refused == -1


def test_slices_become_exact_amounts_near_the_limit() -> None:
    counters = LocalCounters(lambda: 0.0)
    assert counters.take_now("w", [claim(1, 10_000)], 4).granted == [156]
    counters.settle_now("w", [settled(9900, 156)])
    assert counters.take_now("w", [claim(1, 10_000)], 4).granted == [1]


def test_accounts_of_which_nothing_counts_are_forgotten() -> None:
    now = 0.0
    counters = LocalCounters(lambda: now, lambda: now)
    counters.settle_now("w", [settled(4, 0)])
    now = 151 + SWEEP_SECONDS
    assert counters.take_now("w", [claim(1, bucket=100, oldest=0)], 1).used == [0]


@pytest.mark.parametrize("jump", [-40 * 86400.0, 40 * 86400.0])
def test_a_clock_that_jumps_makes_nothing_forgotten(jump: float) -> None:
    now, monotonic = 50 * 86400.0, 0.0
    day = 86400
    counters = LocalCounters(lambda: now, lambda: monotonic)

    def used() -> int:
        bucket = int(now) // day * day
        return counters.take_now("w", [Claim("a", 0, 10, bucket, bucket, bucket + day)], 1).used[0]

    counters.settle_now("w", [Settlement("a", 50 * day, 51 * day, 4, 0)])
    now, monotonic = now + jump, 2 * SWEEP_SECONDS
    assert used() == (4 if jump < 0 else 0)
    now, monotonic = now - jump, 4 * SWEEP_SECONDS
    assert used() == 4


def test_what_has_ended_is_kept_for_a_clock_that_was_ahead(tmp_path: Path) -> None:
    kept = KeptCounters(tmp_path)
    kept.add({("a", 100): (7, 150)})
    assert kept.rows(150.0 + KEPT_SECONDS / 2) == []
    assert kept.rows(120.0) == [("a", 100, 150, 7)]
    assert kept.rows(200.0 + KEPT_SECONDS) == []
    assert kept.rows(120.0) == []


def test_what_was_used_is_read_again_and_what_has_ended_is_not(tmp_path: Path) -> None:
    kept = KeptCounters(tmp_path / "state")
    kept.add({("a", 100): (7, 150), ("b", 10): (1, 60)})
    kept.add({("a", 100): (2, 150)})
    kept.close()
    again = KeptCounters(tmp_path / "state")
    assert again.rows(100.0) == [("a", 100, 150, 9)]
    counters = LocalCounters(lambda: 0.0)
    counters.load(again.rows(100.0))
    assert counters.take_now("w", [claim(2)], 1).refused == 0
    assert counters.changed == {}
    assert stat.S_IMODE((tmp_path / "state" / COUNTERS).stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_adds_nothing(tmp_path: Path) -> None:
    kept = KeptCounters(tmp_path)
    blocker = sqlite3.connect(tmp_path / COUNTERS)
    blocker.execute("CREATE TRIGGER full BEFORE INSERT ON used BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(StoreDown, match="disk full"):
        kept.add({("a", 100): (7, 150)})
    blocker.execute("DROP TRIGGER full")
    kept.add({("a", 100): (7, 150)})
    assert kept.rows(0.0) == [("a", 100, 150, 7)]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreDown, match="folder"):
        KeptCounters(tmp_path / "state")
