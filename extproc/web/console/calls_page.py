"""The last calls, and the record of one."""

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlencode

from extproc.printable import printable
from extproc.usage.calls import NANO
from extproc.usage.reading import Reader, Row, Scope
from extproc.web.console import layout, numbers
from extproc.web.console.access import Visitor
from extproc.web.console.tables import SUCCEEDED, Column, Table
from extproc.web.console.view import Unreadable, View

PATH, CALL_PATH = "/console/calls", "/console/call"
ON_A_PAGE = 50
LIVE_SECONDS = 5
_FOREVER = 2**53
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


def find_one(reader: Reader, id: str, visitor: Visitor) -> Row | None:
    """The same for one call, or None where this person may not see it."""
    who = () if visitor.sees_all else (visitor.subject, visitor.issuer)
    return reader.call(id, Scope(0, _FOREVER, *who))


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
        return f"{CALL_PATH}?{urlencode({'id': row['id']})}"

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


def record(call: Row) -> list[str]:
    """Returns the page of one call."""
    sections = {
        "Outcome": _outcome(call),
        "Caller": {
            "Person": call["subject"],
            "Issuer": call["issuer"],
            **{name: str(value) for name, value in sorted(call["claims"].items())},
        },
        "Model": {
            "Asked for": call["model"],
            "At the provider": call["upstream_model"],
            "As answered": call["response_model"],
            "Moved by budget": call["moved_by"],
            "Provider": call["provider"],
            "Path": call["endpoint"],
            "Operation": call["operation"],
        },
        "Tokens and cost": _spend(call),
    }
    return ['<div class="pair">', *(_section(title, values) for title, values in sections.items()), "</div>"]


def _outcome(call: Row) -> dict[str, str]:
    return {
        "Time (UTC)": numbers.moment(call["time"]),
        "Outcome": call["reason"] or SUCCEEDED,
        "Error": call["error"],
        "Warnings": call["warnings"],
        "Duration": numbers.duration(call["duration"]),
        "First token": numbers.duration(call["first_token"]),
        "Request id": call["request_id"],
    }


def _spend(call: Row) -> dict[str, str]:
    unpriced = call["cost"] is None and call["input_tokens"] is not None
    cost = "unpriced" if unpriced else numbers.ABSENT if call["cost"] is None else f"${call['cost'] / NANO:.6f}"
    return {
        "Input tokens": numbers.whole(call["input_tokens"]),
        "of these read from the cache": numbers.whole(call["cache_read_tokens"]),
        "of these written to the cache": numbers.whole(call["cache_write_tokens"]),
        "Output tokens": numbers.whole(call["output_tokens"]),
        "Cost": cost + (", estimated" if call["estimated"] else ""),
    }


def _section(title: str, values: Mapping[str, str]) -> str:
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(printable(value)) or numbers.ABSENT}</dd></div>"
        for name, value in values.items()
    )
    return f'<section class="card"><header><h2>{escape(title)}</h2></header><dl class="facts">{rows}</dl></section>'
