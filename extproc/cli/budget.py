"""`extproc budget`: shows what is used of a running gateway's budgets, and changes limits by hand, on the gateway's own
machine or with its API."""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from extproc.cli.arguments import TOKEN_VARIABLE, USAGE, AddArgument, AddCommand, argument, complain
from extproc.printable import MAX_TIME, printable, printable_time, show

if TYPE_CHECKING:
    from extproc.config.loading import Source
    from extproc.transport.control import BudgetAnswer, BudgetChange, BudgetCommand, BudgetLine

    Ask = Callable[[BudgetCommand], BudgetAnswer]

_DEFAULT = "default"
_ENTRIES = 100


class Unusable(Exception):
    """`str()` says why nothing was done."""


def add_to(command: AddCommand, config: AddArgument) -> None:
    """Declares the command."""
    what = argument(
        "what", choices=("list", "set", "reset", "grant", "audit"), help="show all, change one, or show changes"
    )
    name = argument("name", nargs="?", metavar="NAME", help="the budget's, as in the configuration")
    key = argument("key", nargs="?", metavar="KEY", help="whose: a value of its key")
    amount = argument("amount", nargs="?", metavar="AMOUNT", help=f"in USD, tokens or calls; set: or `{_DEFAULT}`")
    measure = argument("--measure", help="usd, tokens, requests, ...; needed where the budget limits several")
    until = argument("--until", metavar="TIME", help="default: for good (set), to the end of the period (grant)")
    limit = argument("--limit", metavar="N", help=f"of changes that audit shows; default: {_ENTRIES}")
    gateway = argument("--gateway", metavar="URL", help="of a gateway elsewhere, whose admin.allow admits you")
    credential = f"with --gateway; - reads it here; default: ${TOKEN_VARIABLE}, or the sign-in of extproc login"
    token = argument("--token-file", type=Path, metavar="FILE", help=credential)
    text = "Show what is used of the running gateway's budgets, and change limits by hand."
    example = "extproc budget grant team-month data +50"
    command("budget", text, example, _run, what, name, key, amount, measure, until, limit, gateway, token, config)


def _run(options: argparse.Namespace) -> int:
    from extproc.client.connection import ClientError
    from extproc.transport.control import Unreachable

    try:
        command = parse(options)
        if options.gateway is not None:
            return run(command, remote(options.gateway, options.token_file))
        if options.token_file is not None:
            raise Unusable("--token-file goes with --gateway")
        return run(command, local(options.config))
    except (Unusable, Unreachable, ClientError) as error:
        return complain(error, USAGE if isinstance(error, Unusable) else 1)


def parse(options: argparse.Namespace) -> "BudgetCommand":
    """Raises Unusable."""
    from extproc.transport.control import BudgetCommand

    what, name, key, amount = options.what, options.name, options.key, options.amount
    needed = {"list": 0, "audit": 0, "reset": 2, "set": 3, "grant": 3}[what]
    given = sum(word is not None for word in (name, key, amount))
    if given != needed:
        words = ["NAME", "KEY", "AMOUNT"][:needed]
        raise Unusable(f"extproc budget {what}: expected {' '.join(words) or 'nothing else'}")
    measure, until, entries = options.measure or "", _time(options.until), _entries(what, options.limit)
    return BudgetCommand(what, name or "", key or "", _amount(amount), measure, until, entries=entries)


def run(command: "BudgetCommand", ask: "Ask") -> int:
    """Returns the exit status. Raises Unusable, and what `ask` raises."""
    answer = ask(command)
    if answer.problem:
        raise Unusable(answer.problem)
    if command.command == "list":
        show(table(answer.lines))
    elif command.command == "audit":
        show(audit(answer.changes))
        if answer.has_more:
            show(f"only the last {len(answer.changes)} changes are shown; --limit N shows more", sys.stderr)
    else:
        show("done")
    return 0


def local(config: Path) -> "Ask":
    """Asks the supervisor on this machine. Raises control.Unreachable."""
    from extproc.transport import control

    return lambda command: control.ask_budgets(config, command)


def remote(gateway: str, token_file: Path | None) -> "Ask":
    """Asks the API of a gateway. Raises ClientError."""
    from extproc.cli import budget_api
    from extproc.client.connection import gateway_url

    url = gateway_url(gateway)
    return lambda command: budget_api.ask(url, budget_api.credential(url, token_file), command)


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


def _entries(what: str, text: str | None) -> int:
    from extproc.store.overrides import MAX_CHANGES

    if text is None:
        return _ENTRIES
    if what != "audit":
        raise Unusable("--limit goes with audit")
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_CHANGES):
        raise Unusable(f"--limit {text!r}: expected a number from 1 to {MAX_CHANGES}, which is all that are kept")
    return int(text)


def _time(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(f"--until {text!r}: expected a time such as 2026-12-01 or 2026-12-01T08:00+01:00") from None
    seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if seconds <= 0:  # the supervisor would take 0 for none
        raise Unusable(f"--until {text!r}: the time is over")
    if round(seconds) > MAX_TIME:
        raise Unusable(f"--until {text!r}: expected a time before the year 10000")
    return seconds


def table(lines: Sequence["BudgetLine"]) -> str:
    head = ("budget", "key", "measure", "used", "reserved", "limit", "resets")
    return _columns([head, *map(_row, lines)]) if lines else "nothing is used"


def audit(changes: Sequence["BudgetChange"]) -> str:
    """The newest first."""
    head = ("time", "by", "with", "change", "budget", "key", "measure", "old", "new", "until")
    return _columns([head, *map(_changed, changes)]) if changes else "nothing was changed"


def changed_limits(source: "Source", environ: Mapping[str, str]) -> Iterator[str]:
    """What is in force instead of the configured limits, a line for each; or why that is not known here."""
    from extproc.store.interface import StoreDown
    from extproc.store.opening import read_overrides
    from extproc.supervisor.budget_commands import describe

    if not source.config.budgets:
        return
    try:
        found = asyncio.run(read_overrides(source, environ))
    except StoreDown as error:
        yield f"limits changed by hand are not shown: the store cannot be used: {error}"
        return
    if found is None:
        yield "limits changed by hand are not shown: no gateway has kept any in the folder of the store here"
        return
    budgets = {one.name: one for one in source.config.budgets}
    yield from filter(None, (describe(account, found[account], budgets, time.time()) for account in sorted(found)))


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Each row is one line, whatever line breaks a key or a caller's name has."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(line: "BudgetLine") -> tuple[str, ...]:
    limit = f"{line.limit:.12g}" + (f" (configured {line.configured:.12g})" if line.limit != line.configured else "")
    return line.name, line.key, line.measure, f"{line.used:.12g}", f"{line.reserved:.12g}", limit, _shown(line.resets)


def _changed(one: "BudgetChange") -> tuple[str, ...]:
    by = f"{one.by} ({one.issuer})" if one.issuer else one.by
    amounts = f"{one.old:.12g}", f"{one.new:.12g}"
    return _shown(one.at), by, one.via, one.action, one.name, one.key, one.measure, *amounts, _shown(one.until)


def _shown(seconds: int) -> str:
    return printable_time(seconds) if seconds else ""
