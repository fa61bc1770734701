"""Budgets: what is used of each, by whom, and when it is free again. The numbers are the supervisor's, or Redis's."""

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import urlencode

from extproc.config.endpoints import USAGE_PATHS, Endpoint, Operation
from extproc.config.schema_budgets import Budget
from extproc.errors import Rejection
from extproc.gateway.gateway import Gateway
from extproc.policy.facts import Accepted, Caller, Request
from extproc.printable import printable_time
from extproc.transport.control import BudgetAnswer, BudgetCommand, BudgetLine
from extproc.web.console import numbers
from extproc.web.console.charts import Meter
from extproc.web.console.numbers import Amount
from extproc.web.console.tables import Column, Table
from extproc.web.console.view import Unreadable

PATH = "/console/budgets"
IN_OVERVIEW = 10
"""Keys of each budget on the page that has all of them."""
ON_A_PAGE = 100
IN_CSV = 10_000
_MAX_PAGE = 10_000
_NONE = "No budgets are configured. The section budgets limits what callers use in USD, tokens or requests."
_NOT_YOURS = "No budget applies to you, apart from those that depend on the model or on what a request says."


def wanted(query: Mapping[str, str], gateway: Gateway) -> BudgetCommand:
    """Returns the question for a page, or for the CSV of one budget. Raises Unreadable."""
    if query.get("format") == "csv":
        return BudgetCommand("list", _name(query.get("table"), gateway), most=IN_CSV)
    name = _name(query.get("budget"), gateway)
    if not name:
        return BudgetCommand("list", most=IN_OVERVIEW)
    page = query.get("page", "1")
    if not page.isdecimal() or not page.isascii() or not 0 < len(page) < 6 or not 0 < int(page) <= _MAX_PAGE:
        raise Unreadable("there is no such page of keys")
    return BudgetCommand("list", name, most=ON_A_PAGE, skip=(int(page) - 1) * ON_A_PAGE)


def _name(name: str | None, gateway: Gateway) -> str:
    if name and name not in {one.name for one in gateway.source.config.budgets}:
        raise Unreadable(f"there is no budget {name[:64]!r}")
    return name or ""


def accounts(gateway: Gateway, caller: Caller, source: str, now: float) -> list[str] | Rejection:
    """Returns the accounts that `GET /v1/usage` would show to this caller. `source`: the caller's address; `now`: Unix
    seconds."""
    request = Request(started=now, method="GET", path=USAGE_PATHS[0], source=source)
    endpoint = Endpoint("usage", Operation.SHOW_USAGE, None, "GET")
    found = gateway.budgets.applied(Accepted(request=request, endpoint=endpoint, caller=caller))
    return found if isinstance(found, Rejection) else list(dict.fromkeys(one.account for one in found))


def empty(gateway: Gateway, *, sees_all: bool) -> str:
    """Returns a sentence instead of tables."""
    return _NONE if sees_all or not gateway.source.config.budgets else _NOT_YOURS


def parts(asked: BudgetCommand) -> list[str]:
    """Returns what stands above the tables."""
    words = "A share includes what calls in progress have reserved, and slices that workers hold in advance."
    back = f' <a href="{PATH}">All budgets</a>' if asked.name else ""
    return [f'<p class="lead">{words}{back}</p>']


def tables(gateway: Gateway, asked: BudgetCommand, found: BudgetAnswer, *, sees_all: bool) -> list[Table]:
    """Returns one table for each budget that is shown."""
    return [
        _table(budget, [line for line in found.lines if line.name == budget.name], asked, found, sees_all=sees_all)
        for budget in gateway.source.config.budgets
        if asked.name in ("", budget.name) and (sees_all or found.totals.get(budget.name))
    ]


def _table(
    budget: Budget, lines: Sequence[BudgetLine], asked: BudgetCommand, found: BudgetAnswer, *, sees_all: bool
) -> Table:
    columns = [
        Column("key", "Key"),
        Column("share", "Share taken", "meter"),
        Column("state", "State"),
        Column("used", "Used", "amount"),
        Column("reserved", "Reserved", "amount"),
        Column("limit", "Limit", "amount"),
        Column("measure", "Measure"),
        Column("resets", "Resets (UTC)", "hour"),
        Column("changed", "Changed by hand"),
    ]
    return Table(
        budget.name,
        budget.name,
        columns,
        [_row(budget, line) for line in lines],
        empty="Nothing is used.",
        note=_about(budget, with_key=sees_all),
        more=_more(budget.name, len(lines), asked, found.totals.get(budget.name, 0)),
    )


def _row(budget: Budget, line: BudgetLine) -> dict[str, object]:
    level, state = _state(budget, line)
    scale = line.limit or 1.0
    meter = Meter(f"{line.name}, {line.key}", line.used / scale, line.reserved / scale, budget.warn_at, level)
    return {
        "key": line.key,
        "share": meter,
        "state": state,
        "used": Amount(line.used, line.measure),
        "reserved": Amount(line.reserved, line.measure),
        "limit": Amount(line.limit, line.measure),
        "measure": numbers.measure(line.measure),
        "resets": line.resets * 1000 if line.resets else None,
        "changed": "; ".join(_changes(line)),
    }


def _state(budget: Budget, line: BudgetLine) -> tuple[str, str]:
    """Returns the level of a meter, and what it means in words."""
    share = line.share
    if not line.limit and budget.exceeded != "observe":
        return "over", "refuses every call" if budget.exceeded == "reject" else "moves every call"
    if share >= 1:
        return "over", "beyond the limit" if budget.exceeded == "observe" else "used up"
    if budget.warn_at is not None and share >= budget.warn_at:
        return "warning", "warning"
    return "ok", "within limit"


def _changes(line: BudgetLine) -> list[str]:
    """Returns what is in force besides the configuration."""
    found = []
    if line.is_set:
        until = f" until {_time(line.set_until)}" if line.set_until else ""
        found.append(f"set by hand{until}")
    found += [f"{Amount(amount, line.measure)} granted until {_time(until)}" for amount, until in line.grants]
    if found:
        found.append(f"configured: {Amount(line.configured, line.measure)}")
    return found


def _about(budget: Budget, *, with_key: bool) -> str:
    """`with_key`: for people who may see the configuration."""
    limits = [
        f"{Amount(most, name)} {numbers.measure(name)}" if name != "usd" else str(Amount(most, name))
        for name, most in budget.limit.model_dump(exclude_none=True).items()
    ]
    words = " and ".join(limits)
    if budget.per:
        words += f" in any {budget.per}" if budget.rolling_seconds else f" each {budget.per}, in {budget.time_zone}"
    words += f", for each value of {budget.key}" if with_key else ""
    words += f", where {budget.when}" if with_key and budget.when != "true" else ""
    words += f". Warning from {100 * budget.warn_at:.0f}% on." if budget.warn_at is not None else "."
    match budget.exceeded:
        case "observe":
            return f"{words} Nothing is refused."
        case "reject":
            return f"{words} Calls beyond it are refused."
        case other:
            return f"{words} Calls beyond it go to the model {other.model}, or are refused."


def _more(name: str, shown: int, asked: BudgetCommand, total: int) -> str:
    """Which keys are left out, with links to them."""
    if shown >= total:
        return ""
    if not asked.name:
        words = f"Not shown, with smaller shares: {numbers.whole(total - shown)}."
        return f'<p class="more">{words} {_link(name, 1, f"Show all {numbers.whole(total)} of {name}")}</p>'
    page, last = asked.skip // ON_A_PAGE + 1, -(-total // ON_A_PAGE)
    words = (
        f"{numbers.whole(asked.skip + 1)} to {numbers.whole(asked.skip + shown)} of {numbers.whole(total)}, by share."
    )
    links = _link(name, page - 1, "Previous") if page > 1 else ""
    links += _link(name, page + 1, "Next") if page < last else ""
    return f'<p class="more">{words}</p><nav class="pages" aria-label="Pages of {escape(name)}">{links}</nav>'


def _link(name: str, page: int, text: str) -> str:
    query = urlencode({"budget": name, "page": page})
    return f'<a href="{PATH}?{escape(query)}">{escape(text)}</a>'


def _time(seconds: int) -> str:
    return printable_time(seconds, "%Y-%m-%d %H:%M")
