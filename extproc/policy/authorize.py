"""May this caller do this: CEL rules for all, then each model's own. A rule that fails counts against the caller."""

from collections.abc import Iterable

from extproc.config import Fault, Source, Where
from extproc.endpoints import Operation
from extproc.errors import Kind, Reason, Rejection
from extproc.events import Headers
from extproc.facts import Facts
from extproc.policy.cel import Rule, Seen, compile_rule, prepared
from extproc.providers import OF_A_ROUTE, Catalogue, Resolved

# Credentials prove who calls, and that has been seen to; rules need not touch them.
_HIDDEN = frozenset({"authorization", "proxy-authorization", "x-api-key", "cookie"})


class RuleSet:
    """`deny` wins; every `require` must hold; of `allow`, if there are any, one must."""

    def __init__(self, allow: list[Rule], deny: list[Rule], require: list[Rule]) -> None:
        self._allow = allow
        self._deny = deny
        self._require = require
        self.exists = bool(allow or deny or require)
        self.waits = not all(rule.early for rule in (*allow, *deny, *require))
        """Some rule needs the body."""

    def verdict(self, seen: Seen, *, complete: bool) -> bool:
        """`complete` is False while the body is unknown: rules that need it are left for later."""

        def ready(rules: list[Rule]) -> list[Rule]:
            return [rule for rule in rules if rule.early or complete]

        if any(rule.evaluate(seen) is not False for rule in ready(self._deny)):
            return False
        if any(rule.evaluate(seen) is not True for rule in ready(self._require)):
            return False
        allow = ready(self._allow)
        undecided = len(allow) < len(self._allow)
        return not self._allow or undecided or any(rule.evaluate(seen) is True for rule in allow)


class Authorize:
    """Refuses with 403. Runs when the headers are known, so that a stranger's body is never buffered."""

    def __init__(self, source: Source, faults: list[Fault]) -> None:
        settings = source.config.authorization
        self.rules = RuleSet(
            *(
                _compile_all(getattr(settings, name), ("authorization", name), faults)
                for name in ("allow", "deny", "require")
            )
        )

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.endpoint is not None and facts.endpoint.operation is Operation.PROBE:
            return None
        # Nothing more will be known of a call that passes through.
        complete = facts.endpoint is not None and facts.endpoint.operation is Operation.PASSTHROUGH
        if not self.rules.exists:
            return None
        return None if self.rules.verdict(variables(facts), complete=complete) else _refusal()


class AuthorizeModel:
    """The rules that need the model's name, then the model's own. Runs when the body is known."""

    def __init__(self, source: Source, catalogue: Catalogue, everyone: Authorize, faults: list[Fault]) -> None:
        self._everyone = everyone.rules
        self._own = {OF_A_ROUTE: RuleSet([], [], [])}
        for rule in catalogue.rules:
            allow = rule.settings.allow
            texts = [allow] if isinstance(allow, str) else allow
            self._own[rule.index] = RuleSet(_compile_all(texts, ("models", rule.index, "allow"), faults), [], [])

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        assert facts.resolved is not None
        return self._refused(facts, facts.resolved)

    def permits(self, facts: Facts, resolved: Resolved) -> bool:
        """May the caller use this model?"""
        return self._refused(facts, resolved) is None

    def _refused(self, facts: Facts, resolved: Resolved) -> Rejection | None:
        own = self._own[resolved.rule.index]
        if not own.exists and not self._everyone.waits:
            return None  # all has been decided at the headers
        seen = variables(facts, resolved)
        if self._everyone.waits and not self._everyone.verdict(seen, complete=True):
            return _refusal()
        return None if own.verdict(seen, complete=True) else _model_refusal(resolved.name)


def variables(facts: Facts, model: Resolved | None = None) -> Seen:
    """What rules see. `request.path` is the path that is routed; header names are in lower case."""
    request = {"method": facts.method, "path": facts.path, "headers": _headers(facts.headers)}
    values = {
        "jwt": facts.caller.claims,
        "request": request,
        "model": model.name if model else "",
        "provider": model.provider.name if model else (facts.endpoint.provider or "" if facts.endpoint else ""),
        "upstream_model": model.upstream if model else "",
    }
    return prepared(values)


def _headers(headers: Headers) -> dict[str, str]:
    """A field that came more than once is one list, so that no rule sees only the last of it."""
    seen: dict[str, str] = {}
    for name, value in headers:
        if name[:1] != ":" and name not in _HIDDEN:
            seen[name] = f"{seen[name]},{value}" if name in seen else value
    return seen


def _compile_all(texts: Iterable[str], where: Where, faults: list[Fault]) -> list[Rule]:
    compiled = [compile_rule(text, (*where, index)) for index, text in enumerate(texts)]
    faults.extend(rule for rule in compiled if isinstance(rule, Fault))
    return [rule for rule in compiled if isinstance(rule, Rule)]


def _refusal() -> Rejection:
    return Rejection(
        kind=Kind.PERMISSION,
        message="this token may not use this gateway",
        reason=Reason.AUTHORIZATION,
        code="insufficient_permissions",
        detail="not_allowed",
    )


def _model_refusal(model: str) -> Rejection:
    return Rejection(
        kind=Kind.PERMISSION,
        message=f"model: this token may not use {model}",
        reason=Reason.MODEL_NOT_ALLOWED,
        path="model",
        code="insufficient_permissions",
        detail="model_not_allowed",
    )
