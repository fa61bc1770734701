"""What all pages of the console share: the frame, the navigation, filters, tiles. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from starlette.responses import HTMLResponse

from extproc.printable import printable
from extproc.web.console import numbers
from extproc.web.console.view import RANGES, View, Visitor

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Nothing is inline, and there is no script. https://www.w3.org/TR/CSP3/"""


CALLS = "/console/calls"


class Entry(NamedTuple):
    path: str
    title: str
    for_all: bool = True
    """Shown to people who see their own calls alone, too."""


# A further page gets its row here, and its handler in `routes`.
NAVIGATION = (
    Entry("/console", "Usage"),
    Entry("/console/health", "Health"),
    Entry(CALLS, "Calls"),
    Entry("/console/budgets", "Budgets"),
    Entry("/console/playground", "Playground"),
    Entry("/console/providers", "Providers", for_all=False),
    Entry("/console/configuration", "Configuration", for_all=False),
)


_MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><g class="s0"><rect x="3" y="16" width="6" height="13" rx="1.5"/>'
    '<rect x="13" y="9" width="6" height="20" rx="1.5"/><rect x="23" y="3" width="6" height="26" rx="1.5"/></g></svg>'
)


class Tile(NamedTuple):
    title: str
    value: str
    note: str = ""


def page(title: str, here: str, visitor: Visitor, parts: Iterable[str], *, status: int = 200) -> HTMLResponse:
    """`here`: the path of NAVIGATION to mark. `parts`: HTML."""
    links = "".join(
        f'<li><a href="{entry.path}"{" aria-current=page" if entry.path == here else ""}>{entry.title}</a></li>'
        for entry in NAVIGATION
        if entry.for_all or visitor.sees_all
    )
    whose = "all calls" if visitor.sees_all else "your own calls"
    header = (
        f'<header class="top"><p class="brand">{_MARK}extproc</p>'
        f'<nav aria-label="Pages"><ul>{links}</ul></nav>'
        f'<form method="post" action="/console/sign-out"><p><span class="who">{escape(visitor.name)}</span>'
        f'<span class="whose">{whose}</span></p><button>Sign out</button></form></header>'
    )
    body = f'{header}\n<main id="main"><h1>{escape(title)}</h1>\n' + "\n".join(parts) + "\n</main>"
    return document(title, '<a class="skip" href="#main">Skip to content</a>' + body, status)


def plain(title: str, *parts: str, status: int = 200) -> HTMLResponse:
    """A page for somebody who is not known, or for a mistake."""
    return document(
        title, f'<main id="main" class="plain card"><h1>{escape(title)}</h1>{"".join(parts)}</main>', status
    )


def document(title: str, body: str, status: int = 200) -> HTMLResponse:
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="/console/icon.svg">'
        f'<link rel="stylesheet" href="/console/style.css"><title>{escape(title)} · extproc console</title></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )
    return HTMLResponse(html, status, {"content-security-policy": CSP})


def text(words: str, kind: str = "") -> str:
    return f"<p{f' class={kind}' if kind else ''}>{escape(words)}</p>"


def facts(title: str, values: Mapping[str, str]) -> str:
    """Names and values as a section of its own."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(printable(value)) or numbers.ABSENT}</dd></div>"
        for name, value in values.items()
    )
    return f'<section class="card"><header><h2>{escape(title)}</h2></header><dl class="facts">{rows}</dl></section>'


def tiles(found: Sequence[Tile]) -> str:
    rows = "".join(
        f"<div><dt>{escape(tile.title)}</dt><dd>{escape(tile.value)}</dd>"
        f"{f'<dd class=note>{escape(tile.note)}</dd>' if tile.note else ''}</div>"
        for tile in found
    )
    return f'<dl class="tiles card">{rows}</dl>'


def filters(view: View, path: str, *, with_by: bool = True) -> str:
    """Times as links and as two dates, and what to sum up by."""
    current = ' aria-current="true"'
    ranges = "".join(
        f'<li><a href="{escape(view.url(path, range=name))}"{current if view.range == name else ""}>{title}</a></li>'
        for name, title in RANGES.items()
    )
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == view.by else ""}>{escape(title)}</option>'
        for name, title in view.names.items()
    )
    select = field("by", "By", f'<select id="f-by" name="by">{options}</select>')
    by = select if with_by else _hidden({"by": view.by})
    times = view.query if not view.range else {}
    days = "".join(
        field(name, title, f'<input id="f-{name}" type="date" name="{name}" value="{escape(times.get(name, ""))}">')
        for name, title in (("since", "From"), ("until", "To"))
    )
    kept = _hidden(dict(view.only) | ({"range": view.range} if view.range else {}))
    return (
        f'<div class="filters"><nav aria-label="Time"><ul class="ranges">{ranges}</ul></nav>'
        f'<form method="get" action="{path}">{kept}{by}{days}<button>Show</button></form></div>{_only(view, path)}'
    )


def _only(view: View, path: str) -> str:
    """What is filtered by, each with a link that takes the filter away."""
    rows = "".join(
        f'<li><a href="{escape(view.url(path, **{name: ""}))}">{escape(view.names.get(name, name.capitalize()))}: '
        f'<b>{escape(value)}</b><span aria-hidden="true"> &times;</span><span class="hidden">, remove</span></a></li>'
        for name, value in view.only.items()
    )
    if not rows:
        return ""
    calls = f'<li><a class="to" href="{escape(view.url(CALLS))}">Show these calls</a></li>' if path != CALLS else ""
    return f'<ul class="only" aria-label="Filters">{rows}{calls}</ul>'


def field(name: str, title: str, control: str) -> str:
    """A control with the id `f-NAME`, and its label."""
    return f'<div class="field"><label for="f-{name}">{title}</label>{control}</div>'


def _hidden(values: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in values.items()
    )
