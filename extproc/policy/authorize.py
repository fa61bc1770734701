"""May this caller do this: CEL rules for all, then each model's own. A rule that fails counts against the caller."""

from collections.abc import Iterable
from typing import Any

from extproc.config import Fault, Source, Where
from extproc.endpoints import Operation
from extproc.errors import Kind, Reason, Rejection
from extproc.facts import Facts
from extproc.policy.cel import Rule, compile_rule
from extproc.providers import Catalogue, Resolved


class RuleSet:
    """`deny` wins; every `require` must hold; of `allow`, if there are any, one must."""

    def __init__(self, allow: list[Rule], deny: list[Rule], require: list[Rule]) -> None:
        self._allow = allow
        self._deny = deny
        self._require = require

    def verdict(self, variables: dict[str, Any], *, complete: bool) -> bool:
        """`complete` is False while the body is unknown: rules that need it are left for later."""

        def ready(rules: list[Rule]) -> list[Rule]:
            return [rule for rule in rules if rule.early or complete]

        if any(rule.evaluate(variables) is not False for rule in ready(self._deny)):
            return False
        if any(rule.evaluate(variables) is not True for rule in ready(self._require)):
            return False
        allow = ready(self._allow)
        undecided = len(allow) < len(self._allow)
        return not self._allow or undecided or any(rule.evaluate(variables) is True for rule in allow)


class Authorize:
    """Refuses with 403. Runs when the headers are known, so that a stranger's body is never buffered."""

    def __init__(self, source: Source, faults: list[Fault]) -> None:
        settings = source.config.authorization
        self._rules = RuleSet(
            *(
                _compile_all(getattr(settings, name), ("authorization", name), faults)
                for name in ("allow", "deny", "require")
            )
        )

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.endpoint is not None and facts.endpoint.operation is Operation.PROBE:
            return None
        return None if self._rules.verdict(variables(facts), complete=False) else _refusal()

    def complete(self, facts: Facts) -> Rejection | None:
        return None if self._rules.verdict(variables(facts), complete=True) else _refusal()


class AuthorizeModel:
    """The rules that need the model's name, then the model's own. Runs when the body is known."""

    def __init__(self, source: Source, catalogue: Catalogue, everyone: Authorize, faults: list[Fault]) -> None:
        self._everyone = everyone
        self._own = {}
        for rule in catalogue.rules:
            allow = rule.settings.allow
            texts = [allow] if isinstance(allow, str) else allow
            self._own[rule.index] = _compile_all(texts, ("models", rule.index, "allow"), faults)

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if refused := self._everyone.complete(facts):
            return refused
        assert facts.resolved is not None
        return None if self.permits(facts, facts.resolved) else _model_refusal(facts.model)

    def permits(self, facts: Facts, resolved: Resolved) -> bool:
        """Does the model's own `allow` let the caller use it?"""
        rules = self._own[resolved.rule.index]
        return RuleSet(rules, [], []).verdict(variables(facts, resolved), complete=True)


def variables(facts: Facts, resolved: Resolved | None = None) -> dict[str, Any]:
    """What rules see. `request.path` is the path that is routed; header names are in lower case."""
    model = resolved or facts.resolved
    request = {
        "method": facts.method,
        "path": facts.path,
        "headers": {name: value for name, value in facts.headers if not name.startswith(":")},
    }
    return {
        "jwt": facts.caller.claims,
        "request": request,
        "model": model.name if model else "",
        "provider": model.provider.name if model else "",
        "upstream_model": model.upstream if model else "",
    }


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
