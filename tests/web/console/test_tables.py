from typing import Any

from extproc.web.console import tables
from extproc.web.console.charts import Meter
from extproc.web.console.numbers import Amount
from extproc.web.console.tables import Column, Table

COLUMNS = [
    Column("who", "Person", link=lambda row: f"/x?who={row['who']}&y" if row["who"] else ""),
    Column("calls", "Calls", "number"),
    Column("cost", "Cost", "usd"),
    Column("at", "Last", "time"),
    Column("part", "Share", "share"),
]
ROW = {"who": "=ann", "calls": 1204, "cost": 1_500_000_000, "at": 1_800_000_000_123, "part": 0.25}
UNKNOWN = {"who": None, "calls": None, "cost": None, "at": 0, "part": None}


def table(*rows: dict[str, Any], **changes: Any) -> Table:
    return Table("t", "Who spent <what>", COLUMNS, rows, **changes)


def test_numbers_are_in_columns_and_rows_have_heads() -> None:
    html = tables.html(table(ROW), "/csv?a=1&b=2")
    assert (
        '<td class="n">1,204</td>' in html
        and '<td class="n">$1.5000</td>' in html
        and '<td class="n">25.0%</td>' in html
    )
    assert '<th scope="row" class="text"><a href="/x?who==ann&amp;y">=ann</a></th>' in html
    assert '<th scope="col" class="n">Calls</th>' in html and 'href="/csv?a=1&amp;b=2"' in html
    assert "2027-01-15 08:00:00" in html and "<what>" not in html


def test_what_scrolls_has_a_name_and_takes_the_focus() -> None:
    html = tables.html(table(ROW))
    assert 'role="region" tabindex="0" aria-labelledby="t-t"' in html and 'id="t-t"' in html


def test_what_is_not_known() -> None:
    assert tables.html(table(UNKNOWN)).count("\N{EN DASH}") == 4


def test_an_empty_table_says_so() -> None:
    html = tables.html(table(empty="No call failed."), "/csv")
    assert "No call failed." in html and "<table" not in html and "CSV" not in html


def test_bars_show_parts_of_the_whole() -> None:
    html = tables.html(table(ROW, {**ROW, "calls": 1204 * 3}, UNKNOWN, shares="calls"))
    assert 'width="25.00"' in html and 'width="75.00"' in html and 'width="0.00"' in html


def test_csv() -> None:
    assert tables.as_csv(table(ROW, UNKNOWN)).splitlines() == [
        "who,calls,cost,at,part",
        "'=ann,1204,1.500000000,2027-01-15T08:00:00.123+00:00,0.25",
        ",,,1970-01-01T00:00:00.000+00:00,",
    ]


def test_amounts_have_the_unit_of_their_row() -> None:
    columns = [Column("used", "Used", "amount"), Column("share", "Share", "meter"), Column("at", "At", "hour")]
    rows: list[dict[str, Any]] = [
        {"used": Amount(1.5, "usd"), "share": Meter("x", 0.5, 0.25, None, "ok"), "at": 1_800_000_000_000},
        {"used": Amount(1500, "tokens"), "share": Meter("x", 0, 0, None, "ok"), "at": None},
    ]
    found = Table("t", "T", columns, rows, note="<for> each", more="<p>2 of 3</p>")
    html = tables.html(found)
    assert "$1.50" in html and "1,500" in html and "75%" in html and "2027-01-15 08:00" in html
    assert "&lt;for&gt; each" in html and "<p>2 of 3</p></section>" in html
    assert tables.as_csv(found).splitlines()[1:] == ["1.5,0.75,2027-01-15T08:00:00.000+00:00", "1500,0,"]
