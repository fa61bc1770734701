"""The last calls."""

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlencode

from extproc.usage.reading import Reader, Row
from extproc.web.console import call_page, layout
from extproc.web.console.tables import SUCCEEDED, Column, Table
from extproc.web.console.view import Unreadable, View, Visitor

PATH = "/console/calls"
ON_A_PAGE = 50
LIVE_SECONDS = 5
Place = tuple[int, str]


class Found(NamedTuple):
    calls: list[Row]
    more: bool
    """There are older ones."""


def place(text: str | None) -> Place | None:
    """Returns the time and the id of the call after which a page begins. Raises Unreadable."""
    if not text:
        return None
    time, _, last = text.partition("~")
    if not time.isdecimal() or not time.isascii() or len(time) > 15:
        raise Unreadable("there is no page of calls that begins there")
    return int(time), last


def find(reader: Reader, view: View, visitor: Visitor, before: Place | None) -> Found:
    """Asks the ledger; for a thread. Raises LedgerDown, TooSlow."""
    calls = reader.calls(view.scope(visitor), before, ON_A_PAGE + 1)
    return Found(calls[:ON_A_PAGE], len(calls) > ON_A_PAGE)


def parts(found: Found, view: View, before: Place | None, *, live: bool) -> list[str]:
    """Returns what stands above the table. `live`: the page is fetched again and again."""
    return [layout.filters(view, PATH, with_by=False), _pages(found, view, before, live)]


def _pages(found: Found, view: View, before: Place | None, live: bool) -> str:
    links = [f'<a href="{escape(view.url(PATH))}">Newest</a>'] if before is not None else []
    if live:
        links.append(f'<a href="{escape(view.url(PATH))}">Stop following</a>')
    elif before is None:
        follow = f"Follow, every {LIVE_SECONDS} seconds"
        links.append(f'<a href="{escape(view.url(PATH, live="1"))}">{follow}</a>')
    if found.more:
        last = found.calls[-1]
        older = view.url(PATH, before=f"{last['time']}~{last['id']}")
        links.append(f'<a href="{escape(older)}">Older</a>')
    return f'<nav class="pages" aria-label="Pages of calls">{"".join(links)}</nav>' if links else ""


def table(found: Found, view: View) -> Table:
    def link(row: Mapping[str, Any]) -> str:
        return f"{call_page.PATH}?{urlencode({'id': row['id']})}"

    columns = [
        Column("time", "Time (UTC)", "time", link),
        Column("subject", "Person", link=partial(_only, view, "subject")),
        Column("model", "Model", link=partial(_only, view, "model")),
        Column("provider", "Provider", link=partial(_only, view, "provider")),
        Column("input_tokens", "Input", "number"),
        Column("output_tokens", "Output", "number"),
        Column("cost", "Cost", "usd"),
        Column("duration", "Duration", "duration"),
        Column("outcome", "Outcome", "outcome"),
    ]
    rows = [{**row, "outcome": row["reason"] or SUCCEEDED} for row in found.calls]
    return Table("calls", "Newest first", columns, rows)


def _only(view: View, name: str, row: Mapping[str, Any]) -> str:
    return view.url(PATH, **{name: row[name]}) if row[name] else ""
