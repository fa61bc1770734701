"""Which model answers a call: the one that the client asked for, or the one that a budget without room names."""

import msgspec

from extproc.errors import Rejection
from extproc.gateway.preparation import Examine
from extproc.policy.authorization.rules import AuthorizeModel
from extproc.policy.budgets.budgets import Budgets, Reservation
from extproc.policy.candidates import PlanAttempts
from extproc.policy.facts import Examined, HeavyBody, LightBody, ModelFound, Moved, Planned
from extproc.providers.catalogue import Catalogue, Resolved


class ChooseModel:
    """The steps from a model's name to a call that may be sent: examine the body, authorize, reserve budgets. A budget
    can send a call through them again, with another model."""

    def __init__(  # noqa: PLR0913 - each of them is a step, but one
        self,
        catalogue: Catalogue,
        examine: Examine,
        authorize: AuthorizeModel,
        plan: PlanAttempts,
        budgets: Budgets,
        *,
        judge: str,
    ) -> None:
        """`judge`: the model that judges calls of tools; empty: none. No other one answers for it."""
        self._judge = judge
        self._catalogue = catalogue
        self._examine = examine
        self._authorize = authorize
        self._plan = plan
        self._budgets = budgets

    async def authorized(
        self, found: ModelFound, now: float, moved: tuple[Moved, ...] = ()
    ) -> Examined | Planned | Rejection:
        """Returns the call if the caller may use this model. `now`: Unix seconds; `moved`: the budgets that moved the
        call to it."""
        examined = await self._examine(found)
        if isinstance(examined, Rejection):
            return examined
        if moved:
            examined = msgspec.structs.replace(examined, moved=moved)
        if examined.resolved.rule.pool is not None:
            return self._plan(examined, now)
        return self._authorize(examined) or examined

    async def reserved(
        self, asked: Examined | Planned, now: float
    ) -> tuple[Examined | Planned, Reservation | None] | Rejection:
        """Returns the call as it is to be sent, and what is reserved for it; None: no budget applies. Each move goes to
        a model that was not tried yet, so moves end. Where the last model cannot take the call, whatever the reason,
        the answer is the 429 of the first budget. `now`: Unix seconds."""
        tried = {_identity(examined_of(asked).resolved)}
        refusal: Rejection | None = None
        while isinstance(outcome := await self._budgets.reserve(asked, now), Moved):
            refusal = refusal or outcome.refusal
            if examined_of(asked).model == self._judge:
                return refusal
            other = self._other_model(examined_of(asked), outcome)
            if other is None or _identity(other.resolved) in tried:
                return refusal
            tried.add(_identity(other.resolved))
            found = await self.authorized(other, now, (*examined_of(asked).moved, outcome))
            if isinstance(found, Rejection):
                return refusal
            asked = found
        return (refusal or outcome) if isinstance(outcome, Rejection) else (asked, outcome)

    def _other_model(self, examined: Examined, moved: Moved) -> ModelFound | None:
        """Returns the same call for the other model. A heavy body is prepared again, for another provider."""
        call = examined.call
        resolved = self._catalogue.resolve(moved.model, call.endpoint.provider, call.dialect)
        body = examined.body if isinstance(examined.body, LightBody) else HeavyBody(examined.body.raw)
        return ModelFound(call, body, examined.model, resolved) if resolved is not None else None


def examined_of(asked: Examined | Planned) -> Examined:
    return asked.examined if isinstance(asked, Planned) else asked


def _identity(model: Resolved) -> tuple[int, str]:
    """The same for all names of one model."""
    return model.rule.index, model.upstream
