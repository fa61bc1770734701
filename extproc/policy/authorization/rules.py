"""The rules of a configuration: for everyone, of each route, of each model. A failed one counts against the caller, and
all refusals are 403.
"""

import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from extproc.config.endpoints import Operation
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema_models import Candidate, Ruled
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.authentication import credential
from extproc.policy.authorization.cel import Activation, Part, Rule, Values
from extproc.policy.authorization.variables import (
    AT_HEADERS,
    EVERYTHING,
    OF_BODY,
    WITHOUT_BODY,
    Subject,
    activation,
    compile_rule,
    values,
)
from extproc.policy.facts import Accepted, Caller, Examined, Identified
from extproc.providers.catalogue import Catalogue, Resolved

KEPT = 4096
_LASTING = frozenset({Part.CALLER, Part.PROVIDER, Part.MODEL})
_NEVER_WHERE_UNREAD = {"the model": frozenset({Part.MODEL}), "the body": OF_BODY}


class Seen:
    """One request as rules see it. A part is worked out when a rule first reads it."""

    def __init__(self, subject: Subject, hidden: frozenset[str] = frozenset()) -> None:
        """`hidden`: as in `values`."""
        self.subject = subject
        self._hidden = hidden
        self._parts: dict[Part, Values] = {}
        self._activations: dict[frozenset[Part], Activation] = {}

    def activation(self, reads: frozenset[Part]) -> Activation:
        if reads not in self._activations:
            self._activations[reads] = activation({k: v for part in reads for k, v in self.values(part).items()})
        return self._activations[reads]

    def values(self, part: Part) -> Values:
        if part not in self._parts:
            self._parts[part] = values(part, self.subject, self._hidden)
        return self._parts[part]


class Refused(NamedTuple):
    where: Where
    """The one rule that refused, or the list of which none allowed."""
    rules: tuple[Rule, ...]


class RuleSet:
    """`deny` wins; every `require` must hold; of `allow`, if there are any, one must."""

    def __init__(self, where: Where, settings: Ruled, faults: list[Fault]) -> None:
        self.where = where
        self.of_model = where[0] == "models"
        self.allow, self.deny, self.require = (
            _compile_all(getattr(settings, name), (*where, name), faults) for name in ("allow", "deny", "require")
        )
        self.rules = (*self.deny, *self.require, *self.allow)
        """All rules in the order in which they are evaluated."""
        self.reads_body = any(rule.reads & OF_BODY for rule in self.rules)

    def waits(self, known: frozenset[Part]) -> bool:
        """Returns whether some rule reads more than `known`."""
        return not all(rule.reads <= known for rule in self.rules)

    def refusal(self, seen: Seen, known: frozenset[Part], decisions: "Decisions") -> Refused | None:
        """Returns the refusal by these rules, or None. A rule that reads more than `known` is left for later."""
        for rule in self.deny:
            if rule.reads <= known and decisions.value(rule, seen) is not False:
                return Refused(rule.where, (rule,))
        for rule in self.require:
            if rule.reads <= known and decisions.value(rule, seen) is not True:
                return Refused(rule.where, (rule,))
        if not self.allow or any(not rule.reads <= known or decisions.value(rule, seen) for rule in self.allow):
            return None
        return Refused((*self.where, "allow"), self.allow)


class Decisions:
    """Remembers the results of rules that read only the caller and the model. It is bounded and belongs to one Gateway.
    Entries hold weak references to callers: how long these live is up to the cache of tokens, which is bounded by
    bytes."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._known: OrderedDict[tuple[object, ...], tuple[weakref.ref[Caller], bool | None]] = OrderedDict()

    def value(self, rule: Rule, seen: Seen) -> bool | None:
        """Returns what Rule.evaluate returns, remembered where possible."""
        if not rule.reads <= _LASTING:
            return rule.evaluate(seen.activation(rule.reads))
        caller = seen.subject.call.caller
        key = (rule, id(caller), *(_name(seen) if rule.reads - {Part.CALLER} else ()))
        known = self._known.get(key)
        if known is not None and known[0]() is caller:  # another caller may have got the same `id`
            self._known.move_to_end(key)
            return known[1]
        value = rule.evaluate(seen.activation(rule.reads))
        self._known[key] = weakref.ref(caller), value
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return value


def _name(seen: Seen) -> tuple[str | None, ...]:
    """Returns the values that the variables of a model and its provider depend on."""
    call, model, _ = seen.subject
    provider = call.provider.name if call.provider else None
    return (model.name, model.upstream, model.provider.name) if model else (None, None, provider)


class Rules:
    """All rules of a configuration."""

    def __init__(self, source: Source, catalogue: Catalogue, faults: list[Fault]) -> None:
        config = source.config
        self._everyone = RuleSet(("authorization",), config.authorization, faults)
        self._routes = [RuleSet(("routes", index), route, faults) for index, route in enumerate(config.routes)]
        self._models = {rule.index: RuleSet(("models", rule.index), rule.settings, faults) for rule in catalogue.rules}
        self._candidates = {
            (rule.index, one.number): RuleSet(one.where, one.written, faults)
            for rule in catalogue.rules
            for one in rule.pool or ()
            if isinstance(one.written, Candidate)
        }
        self._choices = {
            rule.index: _compile_each(rule.pool.conditions, rule.pool.places(rule.index), faults)
            for rule in catalogue.rules
            if rule.pool is not None
        }
        self._decisions = Decisions()
        self._hidden = credential.headers(config.authentication.locations)
        for route, of_route in zip(config.routes, self._routes, strict=True):
            if route.serve == "passthrough":
                faults.extend(fault for rule in of_route.rules if (fault := _never_decided(rule)))

    def every(self) -> list[Rule]:
        everywhere = [self._everyone, *self._routes, *self._models.values(), *self._candidates.values()]
        choices = [rule for rules in self._choices.values() for rule in rules]
        return [*(rule for rules in everywhere for rule in rules.rules), *choices]

    def claims(self) -> frozenset[str] | None:
        """Returns the claims that some rule can read; None: any."""
        found = [rule.claims for rule in self.every()]
        known = [names for names in found if names is not None]
        return frozenset().union(*known) if len(known) == len(found) else None

    def seen(self, subject: Subject) -> Seen:
        """Returns the variables of a request for these rules."""
        return Seen(subject, self._hidden)

    def sets(self, call: Identified, model: Resolved | None = None) -> list[RuleSet]:
        """Returns the sets of rules that apply to a request, in order."""
        route = call.endpoint.route if call.endpoint else None
        of_route = [] if route is None else [self._routes[route]]
        of_model = [self._models[model.rule.index]] if model and model.rule.index in self._models else []
        of_candidate = self._candidates.get((model.rule.index, model.rule.number)) if model else None
        return [self._everyone, *of_route, *of_model, *([of_candidate] if of_candidate else [])]

    def chosen(self, subject: Subject, model: Resolved) -> int:
        """Returns which of the model's lists of candidates a call is for: 0 is `providers`, 1 the first of `choose`."""
        choices = self._choices.get(model.rule.index, ())
        if not choices:
            return 0
        seen = self.seen(subject)
        holds = (n for n, rule in enumerate(choices, 1) if rule.evaluate(seen.activation(rule.reads)) is True)
        return next(holds, 0)

    def read_body(self, call: Identified, model: Resolved) -> bool:
        """Returns whether some rule that applies to the request reads more of its body than the model."""
        if any(rules.reads_body for rules in self.sets(call, model)):
            return True
        of_candidates = (rules for (index, _), rules in self._candidates.items() if index == model.rule.index)
        choices = self._choices.get(model.rule.index, ())
        return any(rules.reads_body for rules in of_candidates) or any(rule.reads & OF_BODY for rule in choices)

    def refusal(self, subject: Subject, known: frozenset[Part]) -> Refused | None:
        """Returns the first refusal, or None. With a model, rules that were decided at the headers are not evaluated
        again."""
        call, model, _ = subject
        seen = self.seen(subject)
        sets = [one for one in self.sets(call, model) if model is None or one.waits(AT_HEADERS) or one.of_model]
        found = (rules.refusal(seen, known, self._decisions) for rules in sets)
        return next((refused for refused in found if refused), None)


def _compile_all(texts: Iterable[str], where: Where, faults: list[Fault]) -> tuple[Rule, ...]:
    texts = tuple(texts)
    return _compile_each(texts, [(*where, index) for index in range(len(texts))], faults)


def _compile_each(texts: Iterable[str], places: Iterable[Where], faults: list[Fault]) -> tuple[Rule, ...]:
    compiled = [compile_rule(text, place) for text, place in zip(texts, places, strict=False)]
    faults.extend(rule for rule in compiled if isinstance(rule, Fault))
    return tuple(rule for rule in compiled if isinstance(rule, Rule))


def _never_decided(rule: Rule) -> Fault | None:
    needs = [what for what, parts in _NEVER_WHERE_UNREAD.items() if parts & rule.reads]
    problem = f"reads {' and '.join(needs)}, of which nothing is known where a call passes through"
    return Fault(rule.where, problem) if needs else None


class Authorize:
    """The rules that need nothing of the body. Runs when the headers are known, so that a stranger's is never buffered.
    Of a call that passes through no more will ever be known: rules that need more fail."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def __call__(self, call: Identified) -> Rejection | None:
        operation = call.endpoint.operation if call.endpoint else None
        if operation is Operation.PROBE:
            return None
        known = EVERYTHING if operation is Operation.PASSTHROUGH else AT_HEADERS
        refused = self._rules.refusal(Subject(call), known)
        return _refusal(refused, None) if refused else None


class AuthorizeModel:
    """The rules that need the model or the body. Runs when the body is known."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def __call__(self, examined: Examined) -> Rejection | None:
        refused = self._rules.refusal(Subject(examined.call, examined.resolved, examined.body), EVERYTHING)
        return _refusal(refused, examined.resolved) if refused else None

    def permits(self, call: Accepted, model: Resolved) -> bool:
        """Returns whether the caller may use this model, as far as rules decide without a body."""
        return self._rules.refusal(Subject(call, model), WITHOUT_BODY) is None


def _refusal(refused: Refused, model: Resolved | None) -> Rejection:
    """The message names what the client may not do, the detail for the record which rule refused it."""
    reads = frozenset().union(*(rule.reads for rule in refused.rules))
    of_model = model is not None and bool(refused.where[0] == "models" or reads & {Part.MODEL, Part.PROVIDER})
    by_name = of_model and not reads & {Part.REQUEST, Part.SOURCE, *OF_BODY}
    detail = "model_not_allowed" if of_model else "not_allowed"
    return Rejection(
        kind=Kind.PERMISSION,
        message=_message(refused, model, by_name),
        reason=Reason.MODEL_NOT_ALLOWED if of_model else Reason.AUTHORIZATION,
        path="model" if by_name else "",
        code="insufficient_permissions",
        detail=f"{detail}:{'.'.join(map(str, refused.where))}",
    )


def _message(refused: Refused, model: Resolved | None, by_name: bool) -> str:
    if model is None:
        return f"this token may not use this {'route' if refused.where[0] == 'routes' else 'gateway'}"
    return f"model: this token may not use {model.name}" + ("" if by_name else " in this way")
