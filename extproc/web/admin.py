"""The API for budgets. `/admin/budgets` does what `extproc budget` does; `/v1/organizations/spend_limits` has the
shapes of Anthropic's spend limits (`web/spend_limits.py`)."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from extproc.errors import invalid
from extproc.policy.budgets.administration import Administration
from extproc.store.overrides import MAX_CHANGES
from extproc.transport.control import BudgetCommand, BudgetLine
from extproc.web import spend_limits
from extproc.web.context import Context, Refused
from extproc.web.operators import Guard, Handler, Operator, read_body, read_number, time_text

PATH = "/admin/budgets"
MAX_LINES = 10_000


class ChangeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /admin/budgets`."""

    command: Literal["set", "reset", "grant"]
    budget: str
    key: str
    amount: float | None = None
    """In USD, tokens or calls; null for `set`: as configured."""
    measure: str = ""
    until: datetime | None = None


def routes(context: Context) -> list[Route]:
    administration = Administration(context.gateway.source, context.gateway.rules)
    handlers: dict[str, dict[str, Handler]] = {
        PATH: {"GET": _list, "POST": _change},
        f"{PATH}/audit": {"GET": _audit},
        **spend_limits.handlers(administration),
    }
    guard = Guard(administration, context)
    return [guard.route(path, found) for path, found in handlers.items()]


async def _list(request: Request, operator: Operator) -> Any:
    budget, limit = request.query_params.get("budget", ""), read_number(request, "limit", MAX_LINES, MAX_LINES)
    changed = request.query_params.get("changed") == "true"
    lines = (await operator.ask(BudgetCommand("list", budget, only_changed=changed))).lines
    return {"data": [_shown(one) for one in lines[:limit]], "has_more": len(lines) > limit}


async def _audit(request: Request, operator: Operator) -> Any:
    found = await operator.ask(BudgetCommand("audit", entries=read_number(request, "limit", 100, MAX_CHANGES)))
    times = [{"at": time_text(one.at), "until": time_text(one.until)} for one in found.changes]
    data = [_renamed(one) | shown for one, shown in zip(found.changes, times, strict=True)]
    return {"data": data, "has_more": found.has_more}


async def _change(request: Request, operator: Operator) -> Any:
    wanted = await read_body(request, ChangeRequest)
    until = wanted.until
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    end = until.timestamp() if until is not None else 0.0
    if until is not None and end <= 0:  # the supervisor would take 0 for none
        raise Refused(invalid("until", "the time is over"))
    command = BudgetCommand(wanted.command, wanted.budget, wanted.key, wanted.amount, wanted.measure, end)
    return {"data": [_shown(one) for one in (await operator.ask(command)).lines]}


def _shown(one: BudgetLine) -> dict[str, Any]:
    shown = _renamed(one)
    shown |= {name: time_text(shown.pop(was)) for name, was in _TIMES.items()}
    shown["grants"] = [{"amount": amount, "until": time_text(until)} for amount, until in one.grants]
    return {name: value for name, value in shown.items() if name != "is_set"}


_TIMES = {"resets_at": "resets", "set_until": "set_until", "created_at": "created", "updated_at": "updated"}


def _renamed(one: msgspec.Struct) -> dict[str, Any]:
    found = msgspec.structs.asdict(one)
    return {"budget": found.pop("name"), **found}
