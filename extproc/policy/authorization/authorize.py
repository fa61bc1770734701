"""May this caller do this: CEL rules for all, then the route's and the model's own. All refusals are 403."""

from extproc.config.endpoints import Operation
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.authorization import body_checks
from extproc.policy.authorization.rules import Refused, Rules
from extproc.policy.authorization.variables import AT_HEADERS, BUT_FOR_THE_BODY, EVERYTHING, Part
from extproc.policy.facts import Facts
from extproc.providers.providers import Resolved


class Authorize:
    """The rules that need nothing of the body. Runs when the headers are known, so that a stranger's is never buffered.
    Of a call that passes through no more will ever be known: rules that need more fail."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        operation = facts.endpoint.operation if facts.endpoint else None
        if operation is Operation.PROBE:
            return None
        known = EVERYTHING if operation is Operation.PASSTHROUGH else AT_HEADERS
        refused = self._rules.refusal(facts, known)
        return _refusal(refused, None) if refused else None


class CheckBody:
    """Refuses a body that rules might read otherwise than the provider does. `Prepare` does it for heavy ones."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.heavy:
            return None
        every_depth = self._rules.read_body(facts, facts.resolved)
        return body_checks.refusal(facts.raw_body, facts.body, facts.dialect, every_depth=every_depth)


class AuthorizeModel:
    """The rules that need the model or the body. Runs when the body is known."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        refused = self._rules.refusal(facts, EVERYTHING, facts.resolved)
        return _refusal(refused, facts.resolved) if refused else None

    def permits(self, facts: Facts, model: Resolved) -> bool:
        """May the caller use this model, as far as can be said without a body?"""
        return self._rules.refusal(facts, BUT_FOR_THE_BODY, model) is None


def _refusal(refused: Refused, model: Resolved | None) -> Rejection:
    """The client hears what it may not do, the record which rule said so."""
    reads = frozenset().union(*(rule.reads for rule in refused.rules))
    of_model = model is not None and bool(refused.where[0] == "models" or reads & {Part.MODEL, Part.PROVIDER})
    by_name = of_model and not reads & {Part.REQUEST, Part.SOURCE, Part.LLM}
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
