"""Budgets in the shapes of Anthropic's spend limits: https://platform.claude.com/docs/en/api/organization/spend_limits

A spend limit is what an operator has set for one key of a budget in USD by the day, week or month. Where none is set,
the limit of the configuration counts, which `/effective` shows. What a budget cannot be told is a 400 that names the
field.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from starlette.requests import Request

from extproc.errors import Kind, Reason, Rejection, invalid
from extproc.policy.budgets.administration import Administration, ScopedBudget
from extproc.store.overrides import MAX_CHANGES
from extproc.transport.control import BudgetChange, BudgetCommand, BudgetLine
from extproc.web.context import Refused
from extproc.web.operators import Handler, Operator, not_found, read_body, read_number, time_text
from extproc.web.topics import ID

PATH = "/v1/organizations/spend_limits"
MAX_PAGE = 1_000
_PAGE = 20
_ID_FIELDS = {"user": "user_id", "rbac_group": "rbac_group_id"}
_CENTS = re.compile(r"0|[1-9][0-9]{0,9}")
_PERIODS = ("daily", "weekly", "monthly")
_NO_LIMIT = "null would mean no limit, which a budget cannot have; delete the spend limit to have the configured one"

_SET_AND_UNREAD = Rejection(
    kind=Kind.API,
    message="the spend limit is set; what is used of it cannot be read at the moment",
    reason=Reason.INTERNAL,
    status=503,
)


class SpendScope(msgspec.Struct, forbid_unknown_fields=True):
    """Whom a spend limit is for."""

    type: str
    user_id: str | None = None
    rbac_group_id: str | None = None


class SpendLimitRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST."""

    scope: SpendScope
    amount: Any
    period: Literal["daily", "weekly", "monthly"] = "monthly"


class SpendLimit(NamedTuple):
    """The limit of one key, and what its budget is here."""

    line: BudgetLine
    budget: ScopedBudget

    @property
    def id(self) -> str:
        """The same as long as the budget and the key have their names."""
        return "spl_" + hashlib.sha256(f"{self.line.name}\0{self.line.key}".encode()).hexdigest()[:24]

    @property
    def scope(self) -> dict[str, str]:
        return _scope(self.budget, self.line.key)

    def shown(self) -> dict[str, Any]:
        line = self.line
        return {
            "type": "spend_limit",
            "id": self.id,
            "created_at": time_text(line.created),
            "updated_at": time_text(line.updated),
            "scope": self.scope,
            "amount": _whole_cents(line.set_to or 0),
            "currency": "USD",
            "period": self.budget.period,
            "is_enabled": True,
        }

    def effective(self) -> dict[str, Any]:
        line = self.line
        actor = {"type": "user_actor", "user_id": line.key, "name": None, "email_address": None, "deleted": False}
        is_set = line.set_to is not None
        return {
            "scope": self.scope,
            "groups": [],  # they are in the user's token, which only a call brings
            "actor": actor,
            "amount": _whole_cents(line.limit),
            "currency": "USD",
            "period": self.budget.period,
            "source": self.scope if is_set else {"type": "organization"},
            "spend_limit_id": self.id if is_set else None,
            "period_to_date_spend": f"{line.used * 100:.7f}".rstrip("0").rstrip("."),
        }


def handlers(administration: Administration) -> dict[str, dict[str, Handler]]:
    limits = _SpendLimits(administration)
    return {
        PATH: {"GET": limits.list, "POST": limits.set},
        f"{PATH}/effective": {"GET": limits.effective},
        f"{PATH}/audit": {"GET": limits.audit},
        f"{PATH}/{ID}": {"GET": limits.show, "DELETE": limits.delete},
    }


class _SpendLimits:
    def __init__(self, administration: Administration) -> None:
        self._budgets = {one.name: one for one in administration.budgets}

    async def list(self, request: Request, operator: Operator) -> Any:
        found = sorted(await self._all(operator, only_set=True), key=lambda one: (one.line.created, one.id))
        after = request.query_params.get("page") or request.query_params.get("after_id")
        if after is not None:
            places = [number for number, one in enumerate(found) if one.id == after]
            if not places:
                raise Refused(invalid("page", "there is no such spend limit any more; begin again"))
            found = found[places[0] + 1 :]
        limit = read_number(request, "limit", _PAGE, MAX_PAGE)
        page = found[:limit]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        more = len(found) > limit
        shown = [one.shown() for one in page]
        return {
            "data": shown,
            "has_more": more,
            "first_id": first,
            "last_id": last,
            "next_page": last if more else None,
        }

    async def show(self, request: Request, operator: Operator) -> Any:
        return (await self._one(request, operator)).shown()

    async def set(self, request: Request, operator: Operator) -> Any:
        wanted = await read_body(request, SpendLimitRequest)
        amount = _amount(wanted.amount)
        budget = self._budget(wanted)
        key = _id_of(wanted.scope) or budget.key or ""
        lines = (await operator.ask(BudgetCommand("set", budget.name, key, amount, "usd"))).lines
        if not lines:
            raise Refused(_SET_AND_UNREAD)
        return SpendLimit(lines[0], budget).shown()

    async def delete(self, request: Request, operator: Operator) -> Any:
        """The configured limit counts again."""
        found = await self._one(request, operator)
        await operator.ask(BudgetCommand("set", found.line.name, found.line.key, None, "usd"))
        return {"type": "spend_limit_deleted", "id": found.id}

    async def effective(self, request: Request, operator: Operator) -> Any:
        """What each user has who has used something, or whose limit was set."""
        query = request.query_params
        # Anthropic's API writes lists in a query so; without brackets it is what people type.
        periods = [*query.getlist("period[]"), *query.getlist("period")] or list(_PERIODS)
        users = {*query.getlist("user_ids[]"), *query.getlist("user_ids")}
        if unknown := [one for one in periods if one not in _PERIODS]:
            raise Refused(invalid("period", f"{unknown[0][:20]!r}: expected one of {', '.join(_PERIODS)}"))
        rows: dict[str, list[SpendLimit]] = {}
        for one in await self._all(operator):
            if one.budget.scope == "user" and one.budget.period in periods and (not users or one.line.key in users):
                rows.setdefault(one.line.key, []).append(one)
        after, limit = query.get("page", ""), read_number(request, "limit", _PAGE, MAX_PAGE)
        names = sorted(name for name in rows if name > after)
        shown = [one.effective() for name in names[:limit] for one in rows[name]]
        return {"data": shown, "next_page": names[limit - 1] if len(names) > limit else None}

    async def audit(self, request: Request, operator: Operator) -> Any:
        limit = read_number(request, "limit", 100, MAX_CHANGES)
        # All that are kept: any number of changes of other limits may be newer.
        changes = (await operator.ask(BudgetCommand("audit", entries=MAX_CHANGES))).changes
        found = list(self._audited(changes))
        return {"data": found[:limit], "has_more": len(found) > limit}

    def _audited(self, changes: Sequence[BudgetChange]) -> Iterator[dict[str, Any]]:
        for one in changes:
            budget = self._budgets.get(one.name)
            if budget is not None and one.measure == "usd":
                yield {
                    "type": "spend_limit_change",
                    "action": one.action,
                    "at": time_text(one.at),
                    "actor": {"type": "user_actor", "user_id": one.by, "issuer": one.issuer, "via": one.via},
                    "scope": _scope(budget, one.key),
                    "period": budget.period,
                    "currency": "USD",
                    "old_amount": _whole_cents(one.old),
                    "new_amount": _whole_cents(one.new),
                }

    async def _all(self, operator: Operator, *, only_set: bool = False) -> Sequence[SpendLimit]:
        lines = (await operator.ask(BudgetCommand("list", only_changed=only_set))).lines
        found = [SpendLimit(one, self._budgets[one.name]) for one in lines if self._is_spend_limit(one)]
        return [one for one in found if one.line.set_to is not None] if only_set else found

    def _is_spend_limit(self, line: BudgetLine) -> bool:
        return line.measure == "usd" and line.name in self._budgets

    async def _one(self, request: Request, operator: Operator) -> SpendLimit:
        wanted = request.path_params["id"]
        for one in await self._all(operator, only_set=True):
            if one.id == wanted:
                return one
        raise Refused(not_found("there is no such spend limit"))

    def _budget(self, wanted: SpendLimitRequest) -> ScopedBudget:
        """Returns the one budget that the limit is for. Raises Refused."""
        scope = wanted.scope.type
        of_scope = [one for one in self._budgets.values() if one.scope == scope]
        found = [one for one in of_scope if one.period == wanted.period]
        if not of_scope:
            known = ", ".join(sorted({one.scope for one in self._budgets.values()})) or "none"
            raise Refused(invalid("scope.type", f"no budget in USD is for this scope; budgets are for: {known}"))
        if not found:
            known = ", ".join(sorted({one.period for one in of_scope}))
            raise Refused(invalid("period", f"no budget of this scope has this period; budgets are: {known}"))
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise Refused(invalid("scope.type", f"several budgets are for this scope and period: {names}"))
        return found[0]


def _scope(budget: ScopedBudget, key: str) -> dict[str, str]:
    field = _ID_FIELDS.get(budget.scope)
    return {"type": budget.scope} | ({field: key} if field is not None else {})


def _id_of(scope: SpendScope) -> str | None:
    """Returns the id of the user or group; None: of the organization. Raises Refused."""
    expected = _ID_FIELDS.get(scope.type)
    for field in _ID_FIELDS.values():
        value: str | None = getattr(scope, field)
        if field == expected and not value:
            raise Refused(invalid(f"scope.{field}", "expected the id that the limit is for"))
        if field != expected and value is not None:
            raise Refused(invalid(f"scope.{field}", f"has no place in a scope of the type {scope.type}"))
    return getattr(scope, expected) if expected is not None else None


def _amount(given: Any) -> float:
    """Returns USD. Raises Refused."""
    if given is None:
        raise Refused(invalid("amount", _NO_LIMIT))
    if not isinstance(given, str) or not _CENTS.fullmatch(given):
        raise Refused(invalid("amount", "must be a whole-number decimal string of cents"))
    return int(given) / 100


def _whole_cents(usd: float) -> str:
    """Rounded down, as a limit that was set by the command may have fractions of a cent."""
    return str(int(round(usd * 100, 6)))
