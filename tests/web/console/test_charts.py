import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from extproc.web.console import charts, numbers
from extproc.web.console.charts import Chart, Meter, Series

TWO = [Series("claude", [1, 0, 3], "$4", 0), Series("<other> & co", [1, 2, 0], "$3", 5)]


def chart(series: Any = TWO, **changes: Any) -> Chart:
    labels = ["1 Nov", "2 Nov", "3 Nov"]
    return Chart(
        **{"name": "c", "title": "Spend", "labels": labels, "series": series, "shown": numbers.short} | changes
    )


def drawing(html: str) -> ET.Element:
    found = re.search(r'<svg [^>]*role="img".*?</svg>', html, re.DOTALL)
    assert found
    return ET.fromstring(found[0])


def test_it_has_a_name_and_a_description() -> None:
    html = charts.svg(chart())
    names = drawing(html).attrib["aria-labelledby"].split()
    assert all(f'id="{name}"' in html for name in names)
    assert "Bars from 1 Nov to 3 Nov, the highest 3." in html and "claude $4" in html


def test_bars_stand_on_each_other_and_fit_in() -> None:
    bars = [
        [(float(rect.attrib["y"]), float(rect.attrib["height"])) for rect in group.findall("rect[@x]")[1:]]
        for group in drawing(charts.svg(chart())).findall("g")
    ]
    assert [len(bar) for bar in bars] == [2, 1, 1]
    (lower, low), (upper, high) = bars[0]
    assert lower == pytest.approx(100 - low) and upper == pytest.approx(lower - high, abs=0.02)
    assert bars[2] == [(0, 100)]


def test_each_bar_says_what_it_shows() -> None:
    tips = [group.findtext("title") for group in drawing(charts.svg(chart())).findall("g")]
    assert tips == ["1 Nov\n<other> & co: 1\nclaude: 1", "2 Nov\n<other> & co: 2", "3 Nov\nclaude: 3"]


def test_names_are_text() -> None:
    assert "<other>" not in charts.svg(chart())


@pytest.mark.parametrize("series", [[], [Series("claude", [0, 0, 0])]])
def test_without_values_there_is_a_sentence(series: Any) -> None:
    html = charts.svg(chart(series, empty="Nothing was spent."))
    assert "Nothing was spent." in html and "<svg" not in html


@pytest.mark.parametrize("length", [1, 2, 3, 90])
def test_any_number_of_bars(length: int) -> None:
    labels = [f"{n} Nov" for n in range(length)]
    html = charts.svg(chart([Series("a", [1.0] * length)], labels=labels))
    shown = re.findall(r"<span>(\d+ Nov)</span>", html)
    assert shown[0] == labels[0] and shown[-1] == labels[-1] and len(shown) == len(set(shown)) <= 3


@pytest.mark.parametrize(
    ("value", "top"), [(1, 1), (1.01, 2), (6.4, 8), (9, 10), (10.5, 20), (0.00042, 0.0005), (123_456_789, 200_000_000)]
)
def test_axes_end_at_numbers_that_read_well(value: float, top: float) -> None:
    assert charts.ceiling(value) == pytest.approx(top)


@pytest.mark.parametrize(
    ("used", "reserved", "words"),
    [
        (0.0, 0.0, "0%"),
        (0.0004, 0.0, "<0.1%"),
        (0.0213, 0.01, "3.1%"),
        (0.0996, 0.0, "10%"),
        (0.5, 0.25, "75%"),
        (1.4, 0.1, "150%"),
    ],
)
def test_a_meter_says_how_much_is_taken(used: float, reserved: float, words: str) -> None:
    assert Meter("x", used, reserved, None, "ok").percent == words


def test_a_meter_never_draws_beyond_its_end() -> None:
    drawn = charts.meter(Meter("<a>", 0.9, 0.3, 0.8, "over"))
    assert 'class="over" y="1" width="90.00"' in drawn and 'x="90.00" y="1" width="10.00"' in drawn
    assert 'aria-label="&lt;a&gt;"' in drawn and 'aria-valuenow="100"' in drawn and 'x1="80"' in drawn
    assert 'width="100.00"' in charts.meter(Meter("x", 7.0, 0.0, None, "over"))
    assert "mark" not in charts.meter(Meter("x", 0.1, 0.0, None, "ok"))
