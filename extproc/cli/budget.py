"""`extproc budget`: shows what is used of the running gateway's budgets, and changes limits by hand."""

import argparse
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from extproc.cli.arguments import USAGE, AddArgument, AddCommand, argument, complain
from extproc.printable import show

if TYPE_CHECKING:
    from extproc.transport.control import BudgetCommand, BudgetLine

_DEFAULT = "default"


class Unusable(Exception):
    """`str()` says why nothing was done."""


def add_to(command: AddCommand, config: AddArgument) -> None:
    """Declares the command."""
    what = argument("what", choices=("list", "set", "reset", "grant"), help="show all, or change one")
    name = argument("name", nargs="?", metavar="NAME", help="the budget's, as in the configuration")
    key = argument("key", nargs="?", metavar="KEY", help="whose: a value of its key")
    amount = argument("amount", nargs="?", metavar="AMOUNT", help=f"in USD, tokens or calls; set: or `{_DEFAULT}`")
    measure = argument("--measure", help="usd, tokens, requests, ...; needed where the budget limits several")
    until = argument("--until", metavar="TIME", help="default: for good (set), to the end of the period (grant)")
    text = "Show what is used of the running gateway's budgets, and change limits by hand."
    example = "extproc budget grant team-month data +50"
    command("budget", text, example, _run, what, name, key, amount, measure, until, config)


def _run(options: argparse.Namespace) -> int:
    from extproc.transport.control import Unreachable

    try:
        return run(options.config, parse(options))
    except (Unusable, Unreachable) as error:
        return complain(error, USAGE if isinstance(error, Unusable) else 1)


def parse(options: argparse.Namespace) -> "BudgetCommand":
    """Raises Unusable."""
    from extproc.transport.control import BudgetCommand

    what, name, key, amount = options.what, options.name, options.key, options.amount
    needed = {"list": 0, "reset": 2, "set": 3, "grant": 3}[what]
    given = sum(word is not None for word in (name, key, amount))
    if given != needed:
        words = ["NAME", "KEY", "AMOUNT"][:needed]
        raise Unusable(f"extproc budget {what}: expected {' '.join(words) or 'nothing else'}")
    return BudgetCommand(what, name or "", key or "", _amount(amount), options.measure or "", _time(options.until))


def run(config: Path, command: "BudgetCommand") -> int:
    """Returns the exit status. Raises Unusable, control.Unreachable."""
    from extproc.transport import control

    answer = control.ask_budgets(config, command)
    if answer.problem:
        raise Unusable(answer.problem)
    show(table(answer.lines) if command.command == "list" else "done")
    return 0


def _amount(text: str | None) -> float | None:
    if text is None or text == _DEFAULT:
        return None
    try:
        amount = float(text.removeprefix("+"))
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise Unusable(f"{text!r}: expected an amount such as 50 or +50, or `{_DEFAULT}`")
    return amount


def _time(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(f"--until {text!r}: expected a time such as 2026-12-01 or 2026-12-01T08:00+01:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def table(lines: Sequence["BudgetLine"]) -> str:
    if not lines:
        return "nothing is used"
    head = ("budget", "key", "measure", "used", "reserved", "limit", "resets")
    rows = [head, *map(_row, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(line: "BudgetLine") -> tuple[str, ...]:
    limit = f"{line.limit:g}" + (f" (configured {line.configured:g})" if line.limit != line.configured else "")
    resets = datetime.fromtimestamp(line.resets, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if line.resets else ""
    return line.name, line.key, line.measure, f"{line.used:.12g}", f"{line.reserved:.12g}", limit, resets
