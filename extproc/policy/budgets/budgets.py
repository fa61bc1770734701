"""The budgets of a configuration: which of them apply to a call, what is reserved for it, and what it has used."""

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from extproc.config.endpoints import Operation
from extproc.config.loading import Fault, Source
from extproc.config.schema_budgets import Budget
from extproc.errors import Rejection
from extproc.events import Action, BeginAnswer, Record, Respond
from extproc.policy.authorization.cel import Rule, compile_rule, compile_text
from extproc.policy.authorization.rules import Rules
from extproc.policy.authorization.variables import OF_BODY, Part, Subject
from extproc.policy.budgets import estimate, refusals
from extproc.policy.budgets.estimate import NANO, Used
from extproc.policy.budgets.periods import ALWAYS, Periods
from extproc.policy.budgets.wallet import Use, Wallet
from extproc.policy.facts import Accepted, Answered, Caller, Examined, Planned, ToProvider
from extproc.providers.catalogue import Resolved
from extproc.providers.prices import Prices
from extproc.store.counters import Claim

SEPARATOR = "\x1f"
"""Between the parts of an account's name: budget, measure, key."""
MAX_KEY = 200
MAX_KEPT = 4096
CONCURRENT = "concurrent"
_LASTING = frozenset({Part.CALLER, Part.PROVIDER, Part.MODEL})
_IN_BODY = OF_BODY | {Part.MODEL}


class Limit(NamedTuple):
    """One measure of a budget."""

    budget: "CompiledBudget"
    measure: str
    most: int
    """In whole numbers: of USD billionths."""


class CompiledBudget:
    """One entry of `budgets`."""

    def __init__(self, settings: Budget, key: Rule, when: Rule | None) -> None:
        self.settings = settings
        self.key = key
        self.when = when
        """None: always."""
        self.periods = Periods(settings.per or "", settings.time_zone, settings.rolling_seconds)
        given = settings.limit.model_dump(exclude_none=True)
        self.limits = [
            Limit(self, measure, round(most * NANO) if measure == "usd" else most) for measure, most in given.items()
        ]
        self.reads = key.reads | (when.reads if when is not None else frozenset())


class Applied(NamedTuple):
    """A limit for one key."""

    limit: Limit
    account: str


class Reservation:
    """What is reserved for one call, and settled when it has ended."""

    __slots__ = ("_budgets", "_call", "_claims", "applied")

    def __init__(
        self,
        budgets: "Budgets",
        call: Accepted,
        applied: Sequence[Applied],
        claims: Sequence[Claim],
    ) -> None:
        self._budgets = budgets
        self._call = call
        self.applied = applied
        self._claims = claims

    def add_headers(self, actions: Sequence[Action], now: float) -> None:
        """Adds what the caller should know of its limits to an answer that begins. `now`: Unix seconds."""
        for action in actions:
            match action:
                case BeginAnswer():
                    action.set_headers.update(self._headers(now))
                case Respond():
                    action.headers.update(self._headers(now))
                case _:
                    pass

    def _headers(self, now: float) -> dict[str, str]:
        pairs = zip(self.applied, self._claims, strict=True)
        states = [_state(one, claim, self._budgets.wallet.use(claim)) for one, claim in pairs]
        return refusals.headers(states, self._call.dialect, now)

    def settle(self, seen: Record) -> None:
        """The call has ended. `seen`: all that was put on record of it."""
        used = estimate.charge(seen)
        self._budgets.wallet.settle(self._claims, [_amount(one.limit.measure, used) for one in self.applied])


class Budgets:
    """What a configuration limits."""

    def __init__(self, source: Source, rules: Rules, prices: Prices, wallet: Wallet, faults: list[Fault]) -> None:
        self.wallet = wallet
        self._rules = rules
        self._prices = prices
        self._open = source.config.store.when_down == "open"
        self._budgets = list(filter(None, (_compiled(n, one, faults) for n, one in enumerate(source.config.budgets))))
        names = [one.name for one in source.config.budgets]
        for index, name in enumerate(names):
            if name in names[:index]:
                faults.append(Fault(("budgets", index, "name"), f"two budgets are named {name!r}"))
        self._known: OrderedDict[tuple[object, ...], tuple[weakref.ref[Caller], list[Applied] | Rejection]] = (
            OrderedDict()
        )

    def claims(self) -> frozenset[str] | None:
        """Returns the claims that the expressions can read; None: any."""
        rules = [rule for one in self._budgets for rule in (one.key, one.when) if rule is not None]
        found = [rule.claims for rule in rules]
        known = [names for names in found if names is not None]
        return frozenset().union(*known) if len(known) == len(found) else None

    async def reserve(self, call: Accepted | Examined | Planned, now: float) -> Reservation | Rejection | None:
        """Reserves what the call may use. None: no budget applies. `now`: Unix seconds."""
        match call:
            case _ if not self._budgets:
                return None
            case Planned():
                return await self._reserve_read(call.examined, call.candidates, now)
            case Examined():
                return await self._reserve_read(call, (call.resolved,), now)
            case ToProvider():
                return await self._reserve_passed(call, now)
            case _:
                return None

    async def show(self, call: Accepted, now: float) -> Answered | Rejection:
        """Answers a caller who asks for its own budgets: those that read no model. `now`: Unix seconds."""
        applied = self._applied(Subject(call), [one for one in self._budgets if not one.reads & _IN_BODY])
        if isinstance(applied, Rejection):
            return applied
        claims = [msgspec.structs.replace(_claim(one, Used(), now), observed=True, only_asks=True) for one in applied]
        if (found := await self.wallet.look(claims)) is None:
            return refusals.DOWN
        states = [_state(*three) for three in zip(applied, claims, found, strict=True)]
        request = call.request
        answer = refusals.spend(states) if request.path.startswith("/api/") else refusals.usage(states)
        return Answered(
            request=request,
            dialect=call.dialect,
            endpoint=call.endpoint,
            provider=call.provider,
            caller=call.caller,
            answer=msgspec.json.encode(answer),
        )

    async def _reserve_read(
        self, examined: Examined, candidates: Sequence[Resolved], now: float
    ) -> Reservation | Rejection | None:
        if examined.call.endpoint.operation is not Operation.GENERATE:
            return None
        applied = self._applied(Subject(examined.call, examined.resolved, examined.body), self._budgets)
        if isinstance(applied, Rejection):
            return applied
        if not applied:
            return None
        assumed = max(one.limit.budget.settings.assumed_output_tokens for one in applied)
        most = estimate.reserved(examined, candidates, self._prices, assumed, now)
        return await self._reserve(examined.call, applied, most, now)

    async def _reserve_passed(self, call: ToProvider, now: float) -> Reservation | Rejection | None:
        """It counts as a request, of budgets that read no model."""
        applied = self._applied(Subject(call), [one for one in self._budgets if not one.reads & _IN_BODY])
        if isinstance(applied, Rejection):
            return applied
        if not applied:
            return None
        return await self._reserve(call, applied, estimate.UNREAD, now)

    async def _reserve(
        self, call: Accepted, applied: Sequence[Applied], most: Used, now: float
    ) -> Reservation | Rejection:
        claims = [_claim(one, most, now) for one in applied]
        taken = await self.wallet.reserve(claims)
        if taken is None:
            return Reservation(self, call, applied, claims) if self._open else refusals.DOWN
        if taken.refused >= 0:
            use = Use(taken.used[0], taken.limits[0])
            return refusals.exceeded(_state(applied[taken.refused], claims[taken.refused], use), call.dialect, now)
        return Reservation(self, call, applied, claims)

    def _applied(self, subject: Subject, budgets: Sequence[CompiledBudget]) -> list[Applied] | Rejection:
        """What applies by the caller and the model alone is remembered."""
        caller, model = subject.call.caller, subject.model
        if not all(one.reads <= _LASTING for one in budgets):
            return self._evaluated(subject, budgets)
        provider = subject.call.provider
        names = (model.name, model.upstream, model.provider.name) if model else (provider.name if provider else None,)
        key = (id(caller), *names)
        known = self._known.get(key)
        if known is not None and known[0]() is caller:  # another caller may have got the same `id`
            return known[1]
        found = self._evaluated(subject, budgets)
        self._known[key] = weakref.ref(caller), found
        if len(self._known) > MAX_KEPT:
            self._known.popitem(last=False)
        return found

    def _evaluated(self, subject: Subject, budgets: Sequence[CompiledBudget]) -> list[Applied] | Rejection:
        seen = self._rules.seen(subject)
        found: list[Applied] = []
        for one in budgets:
            holds = one.when is None or one.when.evaluate(seen.activation(one.when.reads))
            if holds is None:
                return refusals.undecided(one.settings.name)
            if not holds:
                continue
            try:
                key = one.key.optional_text(seen.activation(one.key.reads))
            except ValueError:
                return refusals.undecided(one.settings.name)
            if key is not None:
                found += [Applied(limit, account(one.settings.name, limit.measure, key)) for limit in one.limits]
        return found


def account(budget: str, measure: str, key: str) -> str:
    """The name of an account. A long key is known by its digest."""
    short = key if len(key) <= MAX_KEY else f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return SEPARATOR.join((budget, measure, short.replace(SEPARATOR, " ")))


def _compiled(index: int, settings: Budget, faults: list[Fault]) -> CompiledBudget | None:
    key = compile_text(settings.key, ("budgets", index, "key"))
    when = compile_rule(settings.when, ("budgets", index, "when"))
    faults += [one for one in (key, when) if isinstance(one, Fault)]
    if isinstance(key, Fault) or isinstance(when, Fault):
        return None
    return CompiledBudget(settings, key, when if settings.when != "true" else None)


def _amount(measure: str, used: Used) -> int:
    match measure:
        case "usd":
            return used.cost
        case "tokens":
            return used.input_tokens + used.output_tokens
        case "input_tokens":
            return used.input_tokens
        case "output_tokens":
            return used.output_tokens
        case "requests":
            return used.requests
        case _:
            return used.concurrent


def _claim(one: Applied, reserved: Used, now: float) -> Claim:
    """A call that is larger than the limit may use up all of it, or it could never be made."""
    budget, limit = one.limit.budget, one.limit
    period = ALWAYS if limit.measure == CONCURRENT else budget.periods.at(now)
    amount = min(limit.most, _amount(limit.measure, reserved))
    observed = budget.settings.exceeded == "observe"
    return Claim(one.account, amount, limit.most, period.bucket, period.oldest, period.ends, observed)


def _state(one: Applied, claim: Claim, use: Use) -> refusals.State:
    budget, measure = one.limit.budget, one.limit.measure
    resets = 0 if measure == CONCURRENT else budget.periods.at(claim.bucket).resets
    return refusals.State(budget.settings, measure, use.limit, use.used, resets)
