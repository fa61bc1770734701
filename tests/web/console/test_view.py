from collections.abc import Mapping

import pytest

from extproc.usage.reading import MAX_BUCKETS
from extproc.web.console import view
from extproc.web.console.view import DAY, HOUR, Unreadable, Visitor

NOW = 1_796_000_000.0  # 2026-11-29T20:53:20Z
OPERATOR, ALICE = Visitor("op", sees_all=True), Visitor("Alice", "alice", "https://gw")


def read(query: Mapping[str, str]) -> view.View:
    return view.read(query, ["team"], NOW)


def test_a_week_by_model_is_what_is_shown_first() -> None:
    found = read({})
    assert (found.range, found.by, found.step, len(found.starts)) == ("7d", "model", DAY, 7)
    assert found.starts[0] == found.since and found.until > NOW * 1000


@pytest.mark.parametrize(
    ("query", "step", "bars"),
    [
        ({"range": "24h"}, HOUR, 24),
        ({"range": "90d"}, DAY, 90),
        ({"since": "2026-11-01", "until": "2026-11-01"}, HOUR, 24),
        ({"since": "2026-11-01", "until": "2026-11-02"}, HOUR, 48),
        ({"since": "2026-11-01", "until": "2026-11-03"}, DAY, 3),
        ({"since": "2025-11-30", "until": "2026-11-29"}, 7 * DAY, 53),
    ],
)
def test_bars_fit_the_time(query: dict[str, str], step: int, bars: int) -> None:
    found = read(query)
    assert (found.step, len(found.starts)) == (step, bars)


def test_no_time_has_too_many_bars() -> None:
    found = read({"since": "1971-01-01", "until": "2099-12-31"})
    assert len(found.starts) <= MAX_BUCKETS and found.starts[-1] + found.step >= found.until


def test_the_last_day_is_included() -> None:
    found = read({"since": "2026-11-01", "until": "2026-11-02"})
    assert found.until - found.since == 2 * DAY
    assert found.query["until"] == "2026-11-02"


def test_a_view_survives_its_own_url() -> None:
    query = {"since": "2026-11-01", "until": "2026-11-20", "by": "team", "model": "a&b=c"}
    assert read(query).query == query
    assert "a%26b%3Dc" in read(query).url("/console")
    assert "since" not in read(query).url("/console", range="7d")
    assert "model" not in read(query).url("/console", model="")


@pytest.mark.parametrize(
    "query", [{"by": "x"}, {"range": "1y"}, {"since": "1"}, {"since": "2026-11-02", "until": "2026-11-01"}]
)
def test_what_cannot_be_read(query: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        read(query)


def test_whose_calls() -> None:
    found = read({"subject": "bob", "team": "it", "unknown": "x"})
    assert found.only == {"subject": "bob", "team": "it"}
    assert found.scope(OPERATOR).subject is None
    scope = found.scope(ALICE)
    assert (scope.subject, scope.issuer, scope.only) == ("alice", "https://gw", found.only)
