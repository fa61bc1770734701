"""The rules of a configuration: for everyone, of each route, of each model. A failed one counts against the caller."""

import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from extproc.config import schema
from extproc.config.loading import Fault, Source, Where
from extproc.policy.authorization.cel import Activation, Rule, activation, compile_rule
from extproc.policy.authorization.variables import AT_HEADERS, Part, Values, values
from extproc.policy.facts import Caller, Facts
from extproc.providers.providers import Catalogue, Resolved

KEPT = 4096
_LASTING = frozenset({Part.CALLER, Part.PROVIDER, Part.MODEL})
_NEVER_WHERE_UNREAD = {Part.MODEL: "the model", Part.LLM: "the body"}


class Seen:
    """One request as rules see it. A part is worked out when a rule first reads it."""

    def __init__(self, facts: Facts, model: Resolved | None = None) -> None:
        self.facts = facts
        self.model = model
        self._parts: dict[Part, Values] = {}
        self._activations: dict[frozenset[Part], Activation] = {}

    def activation(self, reads: frozenset[Part]) -> Activation:
        if reads not in self._activations:
            self._activations[reads] = activation({k: v for part in reads for k, v in self._of(part).items()})
        return self._activations[reads]

    def _of(self, part: Part) -> Values:
        if part not in self._parts:
            self._parts[part] = values(part, self.facts, self.model)
        return self._parts[part]


class Refused(NamedTuple):
    where: Where
    """The one rule that refused, or the list of which none allowed."""
    rules: tuple[Rule, ...]


class RuleSet:
    """`deny` wins; every `require` must hold; of `allow`, if there are any, one must."""

    def __init__(self, where: Where, settings: schema.Ruled, faults: list[Fault]) -> None:
        self.where = where
        self.of_model = where[0] == "models"
        self.allow, self.deny, self.require = (
            _compile_all(getattr(settings, name), (*where, name), faults) for name in ("allow", "deny", "require")
        )
        self.rules = (*self.deny, *self.require, *self.allow)
        """In the order in which they are asked."""
        self.reads_body = any(Part.LLM in rule.reads for rule in self.rules)

    def waits(self, known: frozenset[Part]) -> bool:
        """Some rule needs more than that."""
        return not all(rule.reads <= known for rule in self.rules)

    def refusal(self, seen: Seen, known: frozenset[Part], decisions: "Decisions") -> Refused | None:
        """A rule that needs more than is known is left for later, as if it were in the caller's favour."""
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
    """Remembers what came of rules that read nothing but the caller and the model: bounded, and gone with its Gateway.
    An entry does not keep its caller alive: that is up to the cache of tokens, which is bounded by bytes."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._known: OrderedDict[tuple[object, ...], tuple[weakref.ref[Caller], bool | None]] = OrderedDict()

    def value(self, rule: Rule, seen: Seen) -> bool | None:
        """As Rule.evaluate."""
        if not rule.reads <= _LASTING:
            return rule.evaluate(seen.activation(rule.reads))
        caller = seen.facts.caller
        key = (rule, id(caller), *(_name(seen) if rule.reads - {Part.CALLER} else ()))
        known = self._known.get(key)
        if known is not None and known[0]() is caller:  # another one may have got the same `id`
            self._known.move_to_end(key)
            return known[1]
        value = rule.evaluate(seen.activation(rule.reads))
        self._known[key] = weakref.ref(caller), value
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return value


def _name(seen: Seen) -> tuple[str | None, ...]:
    """All that the variables of a model and its provider are made of."""
    provider = seen.facts.provider.name if seen.facts.provider else None
    return (seen.model.name, seen.model.upstream, seen.model.provider.name) if seen.model else (None, None, provider)


class Rules:
    """All of a configuration."""

    def __init__(self, source: Source, catalogue: Catalogue, faults: list[Fault]) -> None:
        config = source.config
        self._everyone = RuleSet(("authorization",), config.authorization, faults)
        self._routes = [RuleSet(("routes", index), route, faults) for index, route in enumerate(config.routes)]
        self._models = {rule.index: RuleSet(("models", rule.index), rule.settings, faults) for rule in catalogue.rules}
        self._decisions = Decisions()
        for route, of_route in zip(config.routes, self._routes, strict=True):
            if route.serve == "passthrough":
                faults.extend(fault for rule in of_route.rules if (fault := _never_decided(rule)))

    def every(self) -> list[Rule]:
        everywhere = [self._everyone, *self._routes, *self._models.values()]
        return [rule for rules in everywhere for rule in rules.rules]

    def claims(self) -> frozenset[str] | None:
        """The claims that some rule can read; None: any."""
        found = [rule.claims for rule in self.every()]
        known = [names for names in found if names is not None]
        return frozenset().union(*known) if len(known) == len(found) else None

    def sets(self, facts: Facts, model: Resolved | None = None) -> list[RuleSet]:
        """Those that are asked about a request, in their order."""
        route = facts.endpoint.route if facts.endpoint else None
        of_route = [] if route is None else [self._routes[route]]
        of_model = [self._models[model.rule.index]] if model and model.rule.index in self._models else []
        return [self._everyone, *of_route, *of_model]

    def read_body(self, facts: Facts, model: Resolved | None) -> bool:
        """Some rule that is asked about the request reads more of its body than the model."""
        return any(rules.reads_body for rules in self.sets(facts, model))

    def refusal(self, facts: Facts, known: frozenset[Part], model: Resolved | None = None) -> Refused | None:
        """`model`: what could be decided without it has been, at the headers."""
        seen = Seen(facts, model)
        sets = [one for one in self.sets(facts, model) if model is None or one.waits(AT_HEADERS) or one.of_model]
        found = (rules.refusal(seen, known, self._decisions) for rules in sets)
        return next((refused for refused in found if refused), None)


def _compile_all(texts: Iterable[str], where: Where, faults: list[Fault]) -> tuple[Rule, ...]:
    compiled = [compile_rule(text, (*where, index)) for index, text in enumerate(texts)]
    faults.extend(rule for rule in compiled if isinstance(rule, Fault))
    return tuple(rule for rule in compiled if isinstance(rule, Rule))


def _never_decided(rule: Rule) -> Fault | None:
    needs = [what for part, what in _NEVER_WHERE_UNREAD.items() if part in rule.reads]
    problem = f"reads {' and '.join(needs)}, of which nothing is known where a call passes through"
    return Fault(rule.where, problem) if needs else None
