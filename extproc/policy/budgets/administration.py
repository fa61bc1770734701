"""Who may use the API for budgets, and which budget each of Anthropic's spend limits is taken from."""

from typing import NamedTuple

from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema_budgets import Admin, Budget, Scope
from extproc.policy.authorization import variables
from extproc.policy.authorization.cel import Rule
from extproc.policy.authorization.rules import Rules
from extproc.policy.authorization.variables import AT_HEADERS, Subject
from extproc.policy.facts import Identified

_NO_CALL = "a request to this API has no model and no body that rules could read"
_NOT_CONSTANT = "its key is no constant, so it limits more than one organization; expected user or rbac_group"
_USER_KEYS = frozenset({"jwt.sub", "caller.id"})
PERIODS = {"day": "daily", "week": "weekly", "month": "monthly"}
"""`per` of a budget -> period of a spend limit."""


class ScopedBudget(NamedTuple):
    """A budget in USD, in the words of Anthropic's spend limits."""

    name: str
    scope: Scope
    period: str
    key: str | None
    """The constant key of a budget with the scope `organization`. None for other scopes: there the key is the id of the
    user or group."""


class Administration:
    """The section `admin` with its rules compiled."""

    def __init__(self, source: Source, rules: Rules) -> None:
        """`rules`: those of the configuration, which know how requests are seen. The source has no faults."""
        self._allow, self.budgets = _load(source, [])
        self._rules = rules

    def allows(self, request: Identified) -> bool:
        """A rule that fails does not hold. Without rules nobody is allowed."""
        seen = self._rules.seen(Subject(request))
        return any(rule.evaluate(seen.activation(rule.reads)) is True for rule in self._allow)


def faults(source: Source) -> list[Fault]:
    """Returns the mistakes in `admin`."""
    found: list[Fault] = []
    _load(source, found)
    return found


def _load(source: Source, faults: list[Fault]) -> tuple[list[Rule], list[ScopedBudget]]:
    """Adds to `faults`."""
    settings = source.config.admin
    if settings is None:
        return [], []
    rules: list[Rule] = []
    for index, text in enumerate(settings.allow):
        where = ("admin", "allow", index)
        rule = variables.compile_rule(text, where)
        if isinstance(rule, Fault):
            faults.append(rule)
        elif rule.reads - AT_HEADERS:
            faults.append(Fault(where, _NO_CALL))
        else:
            rules.append(rule)
    known = {one.name: one for one in source.config.budgets}
    unknown = f"there is no such budget; there are: {', '.join(known)}"
    faults += [Fault(("admin", "scopes", name), unknown) for name in settings.scopes if name not in known]
    return rules, [one for budget in source.config.budgets if (one := _scoped(settings, budget, faults))]


def _scoped(settings: Admin, budget: Budget, faults: list[Fault]) -> ScopedBudget | None:
    """None: it is no spend limit, for instance because it does not limit USD."""
    period = PERIODS.get(budget.per or "")
    if budget.limit.usd is None or period is None:
        return None
    constant = _constant(budget.key)
    scope = settings.scopes.get(budget.name)
    if scope == "organization" and constant is None:
        where: Where = ("admin", "scopes", budget.name)
        faults.append(Fault(where, _NOT_CONSTANT))
    if scope is None:
        text = budget.key.strip()
        scope = "organization" if constant is not None else "user" if text in _USER_KEYS else "rbac_group"
    return ScopedBudget(budget.name, scope, period, constant if scope == "organization" else None)


def _constant(text: str) -> str | None:
    """Returns the value of an expression that reads nothing."""
    rule = variables.compile_text(text, ())
    if isinstance(rule, Fault) or rule.reads:
        return None
    try:
        return rule.optional_text(variables.activation({}))
    except ValueError:
        return None
