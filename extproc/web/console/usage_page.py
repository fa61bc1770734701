"""The first page: what was spent over time, and by whom or on what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from extproc.usage.reading import Reader, Row
from extproc.web.console import charts, layout, numbers
from extproc.web.console.charts import Chart, Series
from extproc.web.console.layout import Tile
from extproc.web.console.tables import Column, Table
from extproc.web.console.view import DAY, View, Visitor

PATH = "/console"
NAMED = charts.SERIES - 1
"""How many values a chart tells apart."""
_NONE = "not given"


class Found(NamedTuple):
    sums: list[Row]
    """By the view's `by`, the dearest first."""
    total: Row
    over_time: list[Row]


def find(reader: Reader, view: View, visitor: Visitor) -> Found:
    """Asks the ledger; for a thread. Raises LedgerDown, TooSlow."""
    scope = view.scope(visitor)
    sums = reader.sums([view.by], scope)
    named = [row[view.by] for row in sums[:NAMED] if row[view.by] is not None]
    [total] = reader.sums([], scope)
    return Found(sums, total, reader.over_time(view.by, named, view.step, scope))


def tables(found: Found, view: View) -> list[Table]:
    return [_by_value(found, view), _by_time(found, view)]


def parts(found: Found, view: View) -> list[str]:
    """Returns what stands above the tables."""
    total = found.total
    calls, tokens = total["calls"], total["input_tokens"] + total["output_tokens"]
    unpriced = total["unpriced_calls"]
    tiles = [
        Tile("Spend", numbers.usd(total["cost"]), f"{numbers.whole(unpriced)} calls unpriced" if unpriced else ""),
        Tile("Calls", numbers.whole(calls), f"{numbers.share(total['failed_calls'] or 0, calls)} failed"),
        Tile("Tokens", numbers.short(tokens), f"{numbers.short(total['output_tokens'])} of them output"),
        Tile(
            "Input from cache",
            numbers.share(total["cache_read_tokens"], total["input_tokens"]),
            f"{numbers.short(total['cache_read_tokens'])} tokens",
        ),
    ]
    return [
        layout.filters(view, PATH),
        layout.tiles(tiles),
        '<div class="pair">',
        charts.svg(_chart(found, view, _SPEND)),
        charts.svg(_chart(found, view, _TOKENS)),
        "</div>",
    ]


class _Measure(NamedTuple):
    name: str
    title: str
    members: Sequence[str]
    """Their sum is the height of a bar."""
    shown: Callable[[float], str]
    empty: str


_SPEND = _Measure("spend", "Spend", ("cost",), numbers.short_usd, "Nothing was spent in this time.")
_TOKENS = _Measure(
    "tokens", "Tokens", ("input_tokens", "output_tokens"), numbers.short, "No tokens were used in this time."
)


def _chart(found: Found, view: View, measure: _Measure) -> Chart:
    starts = view.starts
    place = {start: number for number, start in enumerate(starts)}
    values: dict[str, list[float]] = {}
    for row in found.over_time:
        if row["start"] in place:
            bars = values.setdefault(row["name"], [0.0] * len(starts))
            bars[place[row["start"]]] += sum(row[member] for member in measure.members)
    named = [row[view.by] for row in found.sums[:NAMED]]
    order = [(value or "", number) for number, value in enumerate(named) if value is not None]
    others = {key: bars for key, bars in values.items() if key not in dict(order)}
    series = [
        Series(value or _NONE, values[value], measure.shown(sum(values[value])), number)
        for value, number in order
        if value in values
    ]
    if others:
        bars = [sum(column) for column in zip(*others.values(), strict=True)]
        series.append(Series("other", bars, measure.shown(sum(bars)), NAMED))
    labels = [numbers.moment(start, view.label) for start in starts]
    title = f"{measure.title} by {view.names[view.by].lower()}"
    return Chart(measure.name, title, labels, series, measure.shown, measure.empty)


def _by_value(found: Found, view: View) -> Table:
    def link(row: Mapping[str, Any]) -> str:
        return view.url(PATH, **{view.by: row[view.by]}) if row[view.by] else ""

    columns = [
        Column(view.by, view.names[view.by], link=link),
        Column("calls", "Calls", "number"),
        Column("failed_calls", "Failed", "number"),
        Column("input_tokens", "Input tokens", "number"),
        Column("cache_read_tokens", "From cache", "number"),
        Column("output_tokens", "Output tokens", "number"),
        Column("unpriced_calls", "Unpriced", "number"),
        Column("cost", "Cost", "usd"),
    ]
    rows = [{**row, "cost": None if row["unpriced_calls"] and not row["cost"] else row["cost"]} for row in found.sums]
    return Table("by", f"By {view.names[view.by].lower()}", columns, rows, shares="cost")


def _by_time(found: Found, view: View) -> Table:
    """All steps that have calls, the newest first."""
    summed: dict[int, dict[str, int]] = {}
    members = ("calls", "failed_calls", "input_tokens", "output_tokens", "cost")
    for row in found.over_time:
        into = summed.setdefault(row["start"], dict.fromkeys(members, 0))
        for member in members:
            into[member] += row[member]
    rows = [{"start": start, **sums} for start, sums in sorted(summed.items(), reverse=True)]
    columns = [
        Column("start", "Beginning (UTC)", "hour" if view.step < DAY else "day"),
        Column("calls", "Calls", "number"),
        Column("failed_calls", "Failed", "number"),
        Column("input_tokens", "Input tokens", "number"),
        Column("output_tokens", "Output tokens", "number"),
        Column("cost", "Cost", "usd"),
    ]
    return Table("time", "Over time", columns, rows)
