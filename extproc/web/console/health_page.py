"""How calls went: latency, failures, the share of the cache, warnings."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from extproc.usage.reading import OTHER, Reader, Row
from extproc.web.console import charts, layout, numbers
from extproc.web.console.charts import Chart, Series
from extproc.web.console.layout import Tile
from extproc.web.console.tables import Column, Table
from extproc.web.console.view import DAY, FAILED, View, Visitor

PATH = "/console/health"
_NAMED = charts.SERIES - 1
_DURATION, _FIRST = "duration", "first_token"


class Found(NamedTuple):
    total: Row
    failures: list[Row]
    """By reason and error."""
    failed: list[Row]
    """Over time, by reason."""
    warnings: list[Row]
    latency: list[Row]
    """Over time."""
    overall: Mapping[str, Row]
    """Percentiles of all calls, by what was measured."""
    by: list[Row]
    by_latency: Mapping[str, Mapping[str, Row]]
    """Percentiles by the view's `by`, by what was measured."""


def find(reader: Reader, view: View, visitor: Visitor) -> Found:
    """Asks the ledger; for a thread. Raises LedgerDown, TooSlow."""
    scope = view.scope(visitor)
    [total] = reader.sums([], scope)
    failures = [row for row in reader.sums([FAILED, "error"], scope) if row[FAILED]]
    failures.sort(key=lambda row: -int(row["calls"]))
    reasons = list(dict.fromkeys(row[FAILED] for row in failures))[:_NAMED]
    both = (_DURATION, _FIRST)
    return Found(
        total,
        failures,
        # A call that succeeded has the reason "", which is OTHER.
        reader.over_time(FAILED, reasons, view.step, scope),
        [row for row in reader.sums(["warnings"], scope) if row["warnings"]],
        reader.latency(_DURATION, None, view.step, scope),
        {what: row for what in both for row in reader.latency(what, None, None, scope)},
        sorted(reader.sums([view.by], scope), key=lambda row: -int(row["calls"])),
        {what: {row["key"]: row for row in reader.latency(what, view.by, None, scope)} for what in both},
    )


def parts(found: Found, view: View) -> list[str]:
    """Returns what stands above the tables."""
    total, overall = found.total, found.overall
    calls = total["calls"]
    duration, first = overall.get(_DURATION, {}), overall.get(_FIRST, {})
    tiles = [
        Tile("Failed", numbers.share(total["failed_calls"] or 0, calls), f"of {numbers.whole(calls)} calls"),
        Tile("Duration", numbers.duration(duration.get("p50")), f"95%: {numbers.duration(duration.get('p95'))}"),
        Tile("First token", numbers.duration(first.get("p50")), f"95%: {numbers.duration(first.get('p95'))}"),
        Tile("Input from cache", numbers.share(total["cache_read_tokens"], total["input_tokens"]), "of input tokens"),
        Tile("With warnings", numbers.share(total["warned_calls"] or 0, calls), "parts not carried over"),
    ]
    return [
        layout.filters(view, PATH),
        layout.tiles(tiles),
        '<div class="pair">',
        charts.svg(_latency(found, view)),
        charts.svg(_failed(found, view)),
        "</div>",
    ]


def tables(found: Found, view: View) -> list[Table]:
    return [_by_value(found, view), _failures(found, view), _warnings(found), _over_time(found, view)]


def _labels(view: View) -> list[str]:
    return [numbers.moment(start, view.label) for start in view.starts]


def _bars(view: View, values: Mapping[int, float]) -> list[float]:
    return [values.get(start, 0) for start in view.starts]


def _latency(found: Found, view: View) -> Chart:
    """The 95th percentile stands on the median, so that each top is to be read."""
    median = _bars(view, {int(row["key"]): row["p50"] for row in found.latency})
    rest = _bars(view, {int(row["key"]): row["p95"] - row["p50"] for row in found.latency})
    words = [numbers.duration(sum(pair)) for pair in zip(median, rest, strict=True)]
    series = [Series("median", median), Series("95th percentile", rest, "", charts.SERIES - 1, words)]
    return Chart("latency", "Duration of calls that succeeded", _labels(view), series, numbers.duration)


def _failed(found: Found, view: View) -> Chart:
    reasons: dict[str, dict[int, float]] = {}
    for row in found.failed:
        failed = row["failed_calls"]
        if failed:
            reasons.setdefault(row["name"], {})[row["start"]] = failed
    order = dict.fromkeys([*(row[FAILED] for row in found.failures), OTHER])
    series = [
        Series(name or "other", _bars(view, reasons[name]), numbers.whole(int(sum(reasons[name].values()))), place)
        for place, name in enumerate(name for name in order if name in reasons)
    ]
    return Chart(
        "failed", "Failed calls by reason", _labels(view), series, numbers.short, "No call failed in this time."
    )


def _by_value(found: Found, view: View) -> Table:
    rows = [{**row, **_percentiles(found, row[view.by]), **_shares(row)} for row in found.by]
    columns = [
        Column(view.by, view.names[view.by]),
        Column("calls", "Calls", "number"),
        Column("failed_calls", "Failed", "number"),
        Column("failed_share", "Failed, share", "share"),
        Column("duration_p50", "Duration, median", "duration"),
        Column("duration_p95", "95%", "duration"),
        Column("first_token_p50", "First token, median", "duration"),
        Column("first_token_p95", "95%", "duration"),
        Column("cache_share", "From cache", "share"),
    ]
    return Table("by", f"By {view.names[view.by].lower()}", columns, rows)


def _percentiles(found: Found, key: str) -> dict[str, Any]:
    return {
        f"{what}_{name}": rows[key][name] if key in rows else None
        for what, rows in found.by_latency.items()
        for name in ("p50", "p95")
    }


def _shares(row: Row) -> dict[str, float | None]:
    return {
        "failed_share": (row["failed_calls"] or 0) / row["calls"] if row["calls"] else None,
        "cache_share": row["cache_read_tokens"] / row["input_tokens"] if row["input_tokens"] else None,
    }


def _failures(found: Found, view: View) -> Table:
    def link(row: Mapping[str, Any]) -> str:
        return view.url("/console/calls", reason=row[FAILED])

    columns = [
        Column(FAILED, "Reason", "code", link),
        Column("error", "Error", "code"),
        Column("last", "Last (UTC)", "time"),
        Column("calls", "Calls", "number"),
    ]
    return Table("failures", "Failures", columns, found.failures, "No call failed in this time.", shares="calls")


def _warnings(found: Found) -> Table:
    """A call may have several."""
    counted = Counter[str]()
    for row in found.warnings:
        for warning in _split(row["warnings"]):
            counted[warning] += row["calls"]
    rows = [{"warning": warning, "calls": calls} for warning, calls in counted.most_common(100)]
    columns = [Column("warning", "Warning", "code"), Column("calls", "Calls", "number")]
    return Table("warnings", "Warnings", columns, rows, "No call had a warning in this time.", shares="calls")


def _split(warnings: str) -> Iterable[str]:
    return dict.fromkeys(part for part in map(str.strip, warnings.split(",")) if part)


def _over_time(found: Found, view: View) -> Table:
    failed: Counter[int] = Counter()
    calls: Counter[int] = Counter()
    for row in found.failed:
        failed[row["start"]] += row["failed_calls"]
        calls[row["start"]] += row["calls"]
    timed = {int(row["key"]): row for row in found.latency}
    rows: Sequence[Row] = [
        {
            "start": start,
            "calls": calls[start],
            "failed_calls": failed[start],
            "p50": timed.get(start, {}).get("p50"),
            "p95": timed.get(start, {}).get("p95"),
        }
        for start in sorted(calls, reverse=True)
    ]
    columns = [
        Column("start", "Beginning (UTC)", "hour" if view.step < DAY else "day"),
        Column("calls", "Calls", "number"),
        Column("failed_calls", "Failed", "number"),
        Column("p50", "Duration, median", "duration"),
        Column("p95", "95%", "duration"),
    ]
    return Table("time", "Over time", columns, rows)
