"""Tables, as HTML and as CSV of the same rows. Pure."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

from extproc.printable import for_spreadsheet, printable
from extproc.usage.calls import NANO
from extproc.web.console import charts, numbers

SUCCEEDED = "succeeded"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """`name`: the row's member, and the column's name in CSV."""

    name: str
    title: str
    kind: str = "text"
    """One of KINDS."""
    link: Callable[[Row], str] | None = None
    """Where a value leads to."""


@dataclass(frozen=True)
class Table:
    name: str
    """In the URL of its CSV."""
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str = "No calls in this time."
    shares: str = ""
    """A column of numbers whose part in the whole a bar shows."""
    note: str = ""
    """A sentence above the rows."""
    more: str = ""
    """HTML below the rows."""


def _usd(value: Any) -> str:
    return numbers.usd(value, 4)


def _share(value: Any) -> str:
    return numbers.ABSENT if value is None else numbers.share(round(value * 1_000_000), 1_000_000)


def _text(value: Any) -> str:
    return printable(str(value)) if value not in ("", None) else numbers.ABSENT


_SHOWN: dict[str, Callable[[Any], str]] = {
    "text": _text,
    "code": _text,
    "outcome": _text,
    "number": numbers.whole,
    "amount": str,
    "meter": lambda value: value.percent,
    "usd": _usd,
    "share": _share,
    "duration": numbers.duration,
    "time": numbers.moment,
    "hour": partial(numbers.moment, form="%Y-%m-%d %H:%M"),
    "day": partial(numbers.moment, form="%Y-%m-%d"),
}
KINDS = frozenset(_SHOWN)
_TIMES = frozenset({"time", "hour", "day"})
_TEXTS = frozenset({"text", "code", "outcome"}) | _TIMES


def html(table: Table, csv_url: str = "") -> str:
    """Returns a section with a heading, the table, and a link to its CSV."""
    link = (
        f'<a class="csv" href="{escape(csv_url)}" download>CSV<span class="hidden"> of {escape(table.title)}</span></a>'
    )
    head = (
        f'<header><h2 id="t-{table.name}">{escape(table.title)}</h2>{link if csv_url and table.rows else ""}</header>'
    )
    if table.note:
        head += f'<p class="note">{escape(table.note)}</p>'
    if not table.rows:
        return f'<section class="card">{head}<p class="empty">{escape(table.empty)}</p></section>'
    titles = "".join(_title(column) for column in table.columns)
    if table.shares:
        titles += '<th scope="col" class="bar"><span class="hidden">Share</span></th>'
    whole = sum(row[table.shares] or 0 for row in table.rows) if table.shares else 0
    rows = "\n".join(_row(table, row, whole) for row in table.rows)
    # What scrolls must be reachable by the keyboard: https://dequeuniversity.com/rules/axe/4.10/scrollable-region-focusable
    return (
        f'<section class="card">{head}'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="t-{table.name}">'
        f'<table aria-labelledby="t-{table.name}"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>{table.more}</section>"
    )


def _title(column: Column) -> str:
    kind = "" if column.kind in _TEXTS or column.kind == "meter" else ' class="n"'
    return f'<th scope="col"{kind}>{escape(column.title)}</th>'


def _row(table: Table, row: Row, whole: int) -> str:
    cells = [_cell(column, row, first=number == 0) for number, column in enumerate(table.columns)]
    if table.shares:
        part = (row[table.shares] or 0) / whole if whole else 0
        cells.append(
            '<td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="track" width="100" height="8"/>'
            f'<rect class="s0" width="{100 * part:.2f}" height="8"/></svg></td>'
        )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(column: Column, row: Row, *, first: bool) -> str:
    if column.kind == "meter":
        return f"<td>{charts.meter(row[column.name])}</td>"
    shown = escape(_SHOWN[column.kind](row[column.name]))
    if column.link is not None and (url := column.link(row)):
        shown = f'<a href="{escape(url)}">{shown}</a>'
    name = "time" if column.kind in _TIMES else column.kind if column.kind in _TEXTS else "n"
    name = "failed" if name == "outcome" and row[column.name] != SUCCEEDED else name
    kind = f' class="{name}"'
    return f'<th scope="row"{kind}>{shown}</th>' if first else f"<td{kind}>{shown}</td>"


def as_csv(table: Table) -> str:
    """Costs in USD, shares between 0 and 1, durations in milliseconds, times in ISO 8601 and UTC."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        writer.writerow([_for_csv(column, row[column.name]) for column in table.columns])
    return out.getvalue()


def _for_csv(column: Column, value: Any) -> Any:
    if value is None:
        return ""
    if column.kind == "usd":
        return f"{value / NANO:.9f}"
    if column.kind == "meter":
        return f"{value.share:.6g}"
    if column.kind == "amount":
        return f"{value.value:.12g}"
    if column.kind in _TIMES:
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
    return for_spreadsheet(value)
