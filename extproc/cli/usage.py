"""`extproc usage`: what was spent, by whoever spent it, and the removal of a person's calls from the ledger."""

import argparse
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from extproc.config import loading
from extproc.config.schema_usage import logged_claims
from extproc.printable import for_spreadsheet, printable, show
from extproc.usage import opening
from extproc.usage.calls import NANO
from extproc.usage.ledger import COLUMNS, QUARTER, Ledger, LedgerDown, Refused

Row = dict[str, Any]
FORMATS = ("table", "csv", "json")
NUMBERS = ("calls", "failed_calls", "unpriced_calls", "estimated_calls", "input_tokens", "output_tokens",
           "cache_read_tokens", "cache_write_tokens", "cost")  # fmt: skip
_PERIODS: dict[str, str] = {"hour": "%Y-%m-%dT%H:00%z", "day": "%Y-%m-%d", "month": "%Y-%m"}
_NONE = "-"


class Unusable(Exception):
    """`str()` says why there is nothing to show."""


@dataclass(frozen=True)
class Query:
    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    """Not included."""
    zone: tzinfo


def query_of(options: argparse.Namespace) -> Query:
    """Raises Unusable."""
    zone = _zone(options.timezone)
    by = tuple(dict.fromkeys(name.strip() for name in options.by.split(",") if name.strip()))
    return Query(by, _moment(options.since, zone), _moment(options.until, zone), zone)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unusable(f"there is no time zone {name!r} on this machine; expected one such as Europe/Berlin") from None


def _moment(text: str | None, zone: tzinfo) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(f"{text!r} is no time; expected 2026-11-01 or 2026-11-01T08:00+01:00") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def run(config: Path, query: Query, form: str) -> int:
    """Prints sums of the ledger. Returns the exit status. Raises config.Invalid, Unusable."""
    source = loading.load(config)
    unknown = set(query.by) - {*COLUMNS, *_PERIODS, *_claims(source)}
    if unknown:
        known = ", ".join([*_claims(source), *COLUMNS, *_PERIODS])
        raise Unusable(f"calls cannot be summed up by {', '.join(sorted(unknown))}; there are: {known}")
    rows = using(source, lambda ledger: sums(ledger, query))
    print({"json": _json, "csv": _csv, "table": _table}[form](query.by, rows), end="")
    return 0


def remove(config: Path, subject: str) -> int:
    """Removes a person's calls. Returns the exit status. Raises config.Invalid, Unusable."""
    removed = using(loading.load(config), lambda ledger: ledger.remove_subject(subject))
    show(f"{removed} calls of {subject!r} were removed from the ledger; the log of calls is not touched")
    return 0


def _claims(source: loading.Source) -> list[str]:
    """Those that can be summed up by: SQLite's paths have no way to write a quote."""
    return [name for name in logged_claims(source.config.records.claims, source.config.usage) if '"' not in name]


def using(source: loading.Source, use: Callable[[Ledger], Any]) -> Any:
    """Returns what `use` makes of the ledger. Raises config.Invalid, Unusable."""
    if source.config.usage is None:
        raise Unusable(f"{source.path}: there is no `usage`, so no ledger")
    if faults := opening.faults(source, os.environ):
        raise source.explain(faults)
    if source.config.usage.postgresql is None and not opening.file(source).exists():
        raise Unusable(f"there is no ledger yet: {opening.file(source)} is made when the gateway starts")
    try:
        ledger = opening.open_ledger(source, os.environ)
        try:
            return use(ledger)
        finally:
            ledger.close()
    except (LedgerDown, Refused) as error:
        raise Unusable(f"the ledger cannot be used: {error}") from None
    except OSError as error:
        raise Unusable(f"the ledger cannot be used: {error.strerror}") from None


def sums(ledger: Ledger, query: Query) -> list[Row]:
    """Returns the sums for each combination of values, in USD and in the order of the keys."""
    kept = [QUARTER if name in _PERIODS else name for name in query.by]
    found = ledger.sums(list(dict.fromkeys(kept)), _milliseconds(query.since), _milliseconds(query.until))
    totals: dict[tuple[str, ...], Row] = {}
    for row in found:
        key = tuple(_value(row, name, query.zone) for name in query.by)
        total = totals.setdefault(key, dict.fromkeys(NUMBERS, 0))
        for name in NUMBERS:
            total[name] += row[name] or 0
    return [
        dict(zip(query.by, key, strict=True)) | total | {"cost": total["cost"] / NANO}
        for key, total in sorted(totals.items())
        if total["calls"]
    ]


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _value(row: Mapping[str, Any], name: str, zone: tzinfo) -> str:
    if name in _PERIODS:
        return datetime.fromtimestamp(row[QUARTER] / 1000, zone).strftime(_PERIODS[name])
    return "" if row[name] is None else str(row[name])


def _json(_by: Sequence[str], rows: Sequence[Row]) -> str:
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _csv(by: Sequence[str], rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*by, *NUMBERS], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: for_spreadsheet(value) for name, value in row.items()} | {"cost": f"{row['cost']:.9f}"})
    return out.getvalue()


def _table(by: Sequence[str], rows: Sequence[Row]) -> str:
    columns = [name for name in NUMBERS if name in _ALWAYS or any(row[name] for row in rows)]
    lines = [[*by, *(name.replace("_", " ") for name in columns)]]
    lines += [[*(printable(row[name]) or _NONE for name in by), *_numbers(row, columns)] for row in rows]
    if len(rows) > 1 and by:
        total = {name: sum(row[name] for row in rows) for name in NUMBERS}
        lines.append(["total", *("" for _ in by[1:]), *_numbers(total, columns)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "".join("  ".join(_padded(line, widths, len(by))).rstrip() + "\n" for line in lines)


_ALWAYS = frozenset({"calls", "input_tokens", "output_tokens", "cost"})


def _numbers(row: Row, columns: Sequence[str]) -> list[str]:
    return [f"{row[name]:.4f} USD" if name == "cost" else f"{row[name]:,}" for name in columns]


def _padded(line: Sequence[str], widths: Sequence[int], texts: int) -> Iterator[str]:
    for place, (text, width) in enumerate(zip(line, widths, strict=True)):
        yield text.ljust(width) if place < texts else text.rjust(width)
