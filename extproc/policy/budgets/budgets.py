"""The budgets of a configuration: which of them apply to a call, what is reserved for it, and what it has used."""

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from extproc.config.endpoints import Operation
from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.config.schema_budgets import Budget, OtherModel
from extproc.errors import Rejection
from extproc.events import Action, BeginAnswer, Forward, HandOver, Pass, Record, Respond
from extproc.policy.authorization.cel import Part, Rule
from extproc.policy.authorization.rules import Rules
from extproc.policy.authorization.variables import OF_BODY, Subject, compile_rule, compile_text
from extproc.policy.budgets import estimate, refusals
from extproc.policy.budgets.limits import CONCURRENT, account, limits_of
from extproc.policy.budgets.periods import ALWAYS, Periods
from extproc.policy.budgets.used import BUDGETS, Used, charge, of_budgets
from extproc.policy.budgets.wallet import AS_CLAIMED, Use, Wallet
from extproc.policy.facts import Accepted, Answered, Caller, Examined, Moved, Planned, ToProvider
from extproc.providers.catalogue import Catalogue, Resolved
from extproc.providers.prices import Prices
from extproc.store.counters import Claim

MAX_KEPT = 4096
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

    def __init__(self, settings: Budget, key: Rule, when: Rule | None, other: Resolved | None) -> None:
        """`other`: the model that answers calls beyond the limit."""
        self.settings = settings
        self._other = other
        self.key = key
        self.when = when
        """None: always."""
        self.periods = Periods(settings.per or "", settings.time_zone, settings.rolling_seconds)
        self.limits = [Limit(self, measure, most) for measure, most in limits_of(settings)]
        self.reads = key.reads | (when.reads if when is not None else frozenset())
        self.warns = settings.warn_at is not None or settings.exceeded == "observe"
        """Answers may have a warning about it."""

    @property
    def other_model(self) -> str | None:
        """The name of the model that answers calls beyond the limit; None: no other model does."""
        exceeded = self.settings.exceeded
        return exceeded.model if isinstance(exceeded, OtherModel) else None

    def observes(self, model: Resolved | None) -> bool:
        """Returns whether calls to this model are counted and never refused."""
        other = self._other
        if other is None or model is None:
            return self.settings.exceeded == "observe"
        return (model.rule.index, model.upstream) == (other.rule.index, other.upstream)


class Applied(NamedTuple):
    """A limit for one key."""

    limit: Limit
    account: str
    observed: bool
    """It is counted, and refuses nothing."""


class Reservation:
    """What is reserved for one call, and settled when it has ended."""

    __slots__ = ("_applied", "_budgets", "_call", "_claims", "_moved")

    def __init__(
        self,
        budgets: "Budgets",
        call: Accepted,
        applied: Sequence[Applied],
        claims: Sequence[Claim],
        moved: Sequence[Moved] = (),
    ) -> None:
        """`claims`: what is reserved of each limit; `moved`: the budgets that moved the call to the model that
        answers."""
        self._budgets = budgets
        self._call = call
        self._applied = applied
        self._claims = claims
        self._moved = moved

    def on_record(self, action: Action) -> Action:
        """Returns the action. If it sends the call, its record has the budgets, each with its key."""
        if isinstance(action, Forward | HandOver | Pass):
            action.record.update(of_budgets([one.account for one in self._applied]))
        return action

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
        dialect, use = self._call.dialect, self._budgets.wallet.use
        told = refusals.told(dialect)
        states = [
            _state(one, claim, use(claim))
            for one, claim in zip(self._applied, self._claims, strict=True)
            if one.limit.measure in told or one.limit.budget.warns
        ]
        return refusals.headers(states, dialect, now, self._moved)

    def settle(self, seen: Record) -> None:
        """The call has ended. `seen`: all that was put on record of it."""
        used = charge(seen)
        amounts = [getattr(used, one.limit.measure) for one in self._applied]
        call = self._call.request.request_id if BUDGETS in seen else ""
        self._budgets.wallet.settle(self._claims, amounts, call)


class Budgets:
    """What a configuration limits."""

    def __init__(  # noqa: PLR0913 - each is a part of the configuration
        self,
        source: Source,
        catalogue: Catalogue,
        rules: Rules,
        prices: Prices,
        *,
        wallet: Wallet,
        faults: list[Fault],
    ) -> None:
        self.wallet = wallet
        self._rules = rules
        self._prices = prices
        self._open = source.config.store.when_down == "open"
        compiled = (_compiled(n, one, catalogue, faults) for n, one in enumerate(source.config.budgets))
        self._budgets = list(filter(None, compiled))
        self._of_passed = [one for one in self._budgets if not one.reads & _IN_BODY]
        self._of_callers = [one for one in self._of_passed if Part.PROVIDER not in one.reads]
        self._is_lasting = all(one.reads <= _LASTING for one in self._budgets)
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

    async def reserve(self, asked: Examined | Planned, now: float) -> Reservation | Moved | Rejection | None:
        """Reserves what the call may use. Moved: nothing is reserved, and another model is to answer; None: no budget
        applies. `now`: Unix seconds."""
        match asked:
            case _ if not self._budgets:
                return None
            case Planned():
                return await self._reserve_read(asked, asked.examined, asked.candidates, now)
            case Examined():
                return await self._reserve_read(asked, asked, (asked.resolved,), now)

    async def reserve_passed(self, call: ToProvider, now: float) -> Reservation | Rejection | None:
        """As `reserve`, for a call that passes through: it counts as a request, of budgets that read no model."""
        if not self._budgets:
            return None
        applied = self.applied(call)
        if isinstance(applied, Rejection):
            return applied
        if not applied:
            return None
        found = await self._reserve(call, applied, estimate.UNREAD, now)
        return found.refusal if isinstance(found, Moved) else found

    def applied(self, call: Accepted | Examined | Planned) -> list[Applied] | Rejection:
        """Returns the limits that apply; where the body is not read, those of budgets that read neither model nor
        body. Of several candidates anyone may answer, so the limits of all apply."""
        match call:
            case Planned(examined=examined, candidates=candidates):
                found: dict[str, Applied] = {}
                for candidate in candidates:
                    applied = self._applied(Subject(examined.call, candidate, examined.body), self._budgets)
                    if isinstance(applied, Rejection):
                        return applied
                    for one in applied:
                        observed = one.limit.budget.observes(examined.resolved)
                        found[one.account] = one._replace(observed=observed)
                return list(found.values())
            case Examined():
                return self._applied(Subject(call.call, call.resolved, call.body), self._budgets)
            case _:
                return self._applied(Subject(call), self._of_passed)

    async def show(self, call: Accepted, now: float) -> Answered | Rejection:
        """Answers a caller who asks for its own budgets: those that read neither model nor provider. `now`: Unix
        seconds."""
        applied = self._applied(Subject(call), self._of_callers)
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
        self, asked: Examined | Planned, examined: Examined, candidates: Sequence[Resolved], now: float
    ) -> Reservation | Moved | Rejection | None:
        if examined.call.endpoint.operation is not Operation.GENERATE:
            return None
        applied = self.applied(asked)
        if isinstance(applied, Rejection):
            return applied
        if not applied and not examined.moved:
            return None
        assumed = max([one.limit.budget.settings.assumed_output_tokens for one in applied], default=0)
        most = estimate.reserved(examined, candidates, self._prices, assumed, now)
        return await self._reserve(examined.call, applied, most, now, examined.moved)

    async def _reserve(
        self, call: Accepted, applied: Sequence[Applied], most: Used, now: float, moved: Sequence[Moved] = ()
    ) -> Reservation | Moved | Rejection:
        claims = [_claim(one, most, now) for one in applied]
        taken = await self.wallet.reserve(claims)
        if taken is None and not self._open:
            return refusals.DOWN
        if taken is not None and taken.refused >= 0:
            use = Use(taken.used[0], taken.limits[0])
            state = _state(applied[taken.refused], claims[taken.refused], use)
            refusal = refusals.exceeded(state, call.dialect, now)
            other = applied[taken.refused].limit.budget.other_model
            return refusal if other is None else Moved(state.budget.name, other, state.resets, refusal)
        if taken is not AS_CLAIMED:
            # During an outage nothing is reserved, so the end of this call must not release what other calls hold.
            granted = [0] * len(claims) if taken is None else taken.granted
            claims = [_with_amount(claim, amount) for claim, amount in zip(claims, granted, strict=True)]
        return Reservation(self, call, applied, claims, moved)

    def _applied(self, subject: Subject, budgets: Sequence[CompiledBudget]) -> list[Applied] | Rejection:
        """What applies by the caller and the model alone is remembered."""
        caller, model = subject.call.caller, subject.model
        if not self._is_lasting:
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
                name, observed = one.settings.name, one.observes(subject.model)
                found += [Applied(limit, account(name, limit.measure, key), observed) for limit in one.limits]
        return found


def _compiled(index: int, settings: Budget, catalogue: Catalogue, faults: list[Fault]) -> CompiledBudget | None:
    key = compile_text(settings.key, ("budgets", index, "key"))
    when = compile_rule(settings.when, ("budgets", index, "when"))
    faults += [one for one in (key, when) if isinstance(one, Fault)]
    if isinstance(key, Fault) or isinstance(when, Fault):
        return None
    other = None
    if isinstance(settings.exceeded, OtherModel):
        other = catalogue.resolve(settings.exceeded.model)
        if other is None:
            problem = f"no model is named {settings.exceeded.model!r}; expected a name that `models` knows"
            faults.append(Fault(("budgets", index, "exceeded", "model"), problem))
    return CompiledBudget(settings, key, when if settings.when != "true" else None, other)


def _claim(one: Applied, reserved: Used, now: float) -> Claim:
    budget, limit = one.limit.budget, one.limit
    period = ALWAYS if limit.measure == CONCURRENT else budget.periods.at(now)
    amount = getattr(reserved, limit.measure)
    return Claim(one.account, amount, limit.most, period.bucket, period.oldest, period.ends, one.observed)


def _with_amount(claim: Claim, amount: int) -> Claim:
    return claim if claim.amount == amount else msgspec.structs.replace(claim, amount=amount)


def _state(one: Applied, claim: Claim, use: Use) -> refusals.State:
    budget, measure = one.limit.budget, one.limit.measure
    resets = 0 if measure == CONCURRENT else budget.periods.at(claim.bucket).resets
    return refusals.State(budget.settings, measure, use.limit, use.used, resets)
