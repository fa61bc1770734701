"""Numbers, times and durations as people read them. Pure."""

from datetime import UTC, datetime
from typing import NamedTuple

from extproc.usage.calls import NANO

ABSENT = "\N{EN DASH}"
_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def usd(nano: int | None, digits: int | None = None) -> str:
    """`nano`: billionths of a USD. `digits`: after the point; absent: two, or more for small amounts."""
    if nano is None:
        return ABSENT
    value = nano / NANO
    if digits is None:
        digits = 2 if value >= 1 or value == 0 else 4
    return f"${value:,.{digits}f}"


_MEASURES = {
    "usd": "USD",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "concurrent": "calls at one time",
}


def measure(name: str) -> str:
    """Returns what a budget limits, in words."""
    return _MEASURES.get(name, name)


class Amount(NamedTuple):
    """In USD, tokens or calls."""

    value: float
    measure: str

    def __str__(self) -> str:
        return usd(round(self.value * NANO)) if self.measure == "usd" else whole(round(self.value))


def whole(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def short(value: float) -> str:
    """At most four digits and a unit: 9.31M."""
    for size, unit in _UNITS:
        if value >= size:
            text = f"{value / size:.2f}" if value < 10 * size else f"{value / size:.1f}"
            return text.rstrip("0").rstrip(".") + unit
    return f"{value:.2f}".rstrip("0").rstrip(".")


def short_usd(nano: float) -> str:
    value = nano / NANO
    if value >= 1000:
        return f"${short(round(value))}"
    return f"${value:,.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}"


def share(part: int, whole: int) -> str:
    """Percent; absent where there is nothing to share."""
    if not whole:
        return ABSENT
    percent = 100 * part / whole
    return f"{percent:.1f}%" if 0 < percent < 99.95 else f"{percent:.0f}%"


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ABSENT
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def moment(milliseconds: int | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """In UTC, as everywhere in the console."""
    if milliseconds is None:
        return ABSENT
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime(form)
