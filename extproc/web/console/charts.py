"""Stacked bars over time, and the bar of a limit, as SVG. Pure. All text is HTML around the drawing, so that it has the
page's size on any screen; a chart has a name and a description, and the page has the same figures as a table."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

SERIES = 6
"""How many have a colour of their own in style.css: `s0` to `s5`, the last one for what is not told apart."""
_SLOT, _BAR = 10.0, 7.6


@dataclass(frozen=True)
class Series:
    name: str
    values: Sequence[float]
    """One for each bar, 0 or more."""
    total: str = ""
    """Beside the name in the legend."""
    colour: int = 0
    words: Sequence[str] = ()
    """What a bar says when pointed at; absent: its value."""


@dataclass(frozen=True)
class Chart:
    name: str
    """The id that its elements have in the page."""
    title: str
    labels: Sequence[str]
    """One for each bar: when it begins."""
    series: Sequence[Series]
    """From the bottom to the top."""
    shown: Callable[[float], str]
    """A value in words."""
    empty: str = "No calls in this time."


class Meter(NamedTuple):
    """How much of a limit is taken; 1 is all of it."""

    name: str
    used: float
    reserved: float
    warn_at: float | None
    """Marked on the bar."""
    level: str
    """`ok`, `warning` or `over`: its colour, which never says anything alone."""

    @property
    def share(self) -> float:
        return self.used + self.reserved

    @property
    def percent(self) -> str:
        if 0 < self.share < 0.001:
            return "<0.1%"
        return f"{100 * self.share:.0f}%" if self.share >= 0.0995 or not self.share else f"{100 * self.share:.1f}%"


def meter(one: Meter) -> str:
    """Returns the bar with its percentage beside it. https://www.w3.org/TR/wai-aria-1.2/#meter"""
    used = min(1.0, one.used)
    reserved = min(1.0 - used, one.reserved)
    words = f"{one.percent} taken, {100 * one.reserved:.0f}% of the limit reserved"
    mark = ""
    if one.warn_at is not None:
        words += f", warning from {100 * one.warn_at:.0f}% on"
        at = f"{100 * one.warn_at:g}"
        mark = f'<line class="mark" x1="{at}" x2="{at}" y1="0" y2="10"/>'
    return (
        f'<div class="meter"><div role="meter" aria-label="{escape(one.name)}" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{min(100, round(100 * one.share))}" aria-valuetext="{escape(words)}">'
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="1" width="100" height="8"/>'
        f'<rect class="{one.level}" y="1" width="{100 * used:.2f}" height="8"/>'
        f'<rect class="{one.level} reserved" x="{100 * used:.2f}" y="1" width="{100 * reserved:.2f}" height="8"/>'
        f"{mark}</svg></div><span>{escape(one.percent)}</span></div>"
    )


def svg(chart: Chart) -> str:
    """Returns a figure; where all values are 0, a sentence that says so."""
    title = f'<header><h2 id="c-{chart.name}">{escape(chart.title)}</h2></header>'
    most = max((sum(values) for values in zip(*(one.values for one in chart.series), strict=True)), default=0)
    if not most:
        return f'<section class="card chart">{title}<p class="empty">{escape(chart.empty)}</p></section>'
    top = ceiling(most)
    width = _SLOT * len(chart.labels)
    lines = "".join(f'<line class="grid" x1="0" x2="{width:g}" y1="{y}" y2="{y}"/>' for y in (0, 50, 100))
    bars = "".join(_bar(chart, place, top) for place in range(len(chart.labels)))
    axis = "".join(f"<span>{escape(chart.shown(top * part))}</span>" for part in (1, 0.5, 0))
    return (
        f'<section class="card chart">{title}<figure><div class="plot"><div class="y" aria-hidden="true">{axis}</div>'
        f'<svg viewBox="0 0 {width:g} 100" preserveAspectRatio="none" role="img"'
        f' aria-labelledby="c-{chart.name} d-{chart.name}">'
        f'<desc id="d-{chart.name}">{escape(_description(chart, most))}</desc>{lines}{bars}</svg>'
        f'<div class="x" aria-hidden="true">{_times(chart.labels)}</div></div>'
        f"{_legend(chart)}</figure></section>"
    )


def ceiling(value: float) -> float:
    """Returns the next number that reads well on an axis, as does its half."""
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if step * size >= value * 0.999999)


def _bar(chart: Chart, place: int, top: float) -> str:
    parts, floor = [], 100.0
    left = place * _SLOT + (_SLOT - _BAR) / 2
    for one in chart.series:
        height = 100 * one.values[place] / top
        floor -= height
        if height:
            parts.append(
                f'<rect class="s{one.colour}" x="{left:g}" y="{floor:.2f}" width="{_BAR}" height="{height:.2f}"/>'
            )
    words = [f"{one.name}: {_words(chart, one, place)}" for one in reversed(chart.series) if one.values[place]]
    tip = escape("\n".join([chart.labels[place], *words] if words else [chart.labels[place], "no calls"]))
    hit = f'<rect class="hit" x="{place * _SLOT:g}" y="0" width="{_SLOT:g}" height="100"/>'
    return f'<g class="at"><title>{tip}</title>{hit}{"".join(parts)}</g>'


def _words(chart: Chart, one: Series, place: int) -> str:
    return one.words[place] if one.words else chart.shown(one.values[place])


def _description(chart: Chart, most: float) -> str:
    names = ", ".join(f"{one.name} {one.total}".strip() for one in chart.series)
    first, last = chart.labels[0], chart.labels[-1]
    return f"Bars from {first} to {last}, the highest {chart.shown(most)}. {names}. The table below has the figures."


def _times(labels: Sequence[str]) -> str:
    """The first, the middle and the last, where there is room."""
    places = sorted({0, len(labels) // 2, len(labels) - 1} if len(labels) > 2 else {0, len(labels) - 1})
    return "".join(f"<span>{escape(labels[place])}</span>" for place in places)


def _legend(chart: Chart) -> str:
    rows = "".join(
        '<li><svg viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect class="s{one.colour}" width="10" height="10" rx="2"/></svg>'
        f"<span>{escape(one.name)}</span>{f'<b>{escape(one.total)}</b>' if one.total else ''}</li>"
        for one in chart.series
    )
    return f'<ul class="legend">{rows}</ul>'
