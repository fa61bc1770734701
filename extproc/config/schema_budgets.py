"""The keys of `budgets` in `gateway.yaml`."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, model_validator

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import Expressions

CALENDAR = ("minute", "hour", "day", "week", "month")
_ROLLING = re.compile(r"([1-9]\d{0,3})([mhd])")
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_LONGEST_SECONDS = 400 * 86400

Usd = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]


class BudgetLimit(BaseModel):
    """How much may be used; each of them is a limit of its own."""

    model_config = STRICT

    usd: Usd | None = None
    """What calls cost, in USD."""
    tokens: Count | None = None
    """Tokens of input and output together."""
    input_tokens: Count | None = None
    """Tokens of the input, those read from a cache or written to one included."""
    output_tokens: Count | None = None
    """Tokens of the output, thinking included."""
    requests: Count | None = None
    """Calls that are sent to a provider."""
    concurrent: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Calls in progress at one time."""

    @property
    def needs_period(self) -> bool:
        return bool(self.model_fields_set - {"concurrent"})


def _period(text: str) -> str:
    problem = f"expected one of {', '.join(CALENDAR)}, or a rolling period such as 90m, 12h or 30d, 400d at most"
    if text not in CALENDAR and not 60 <= _rolling(text) <= _LONGEST_SECONDS:
        raise ValueError(problem)
    return text


def _rolling(text: str) -> int:
    """Returns seconds; 0 if it is no rolling period."""
    found = _ROLLING.fullmatch(text)
    return int(found[1]) * _UNIT_SECONDS[found[2]] if found else 0


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError only for its text
        raise ValueError("this machine knows no such time zone; expected a name such as Europe/Berlin") from None
    except KeyError:
        raise ValueError("this machine knows no such time zone; expected a name such as Europe/Berlin") from None
    return name


class OtherModel(BaseModel):
    """The model that answers calls beyond the limit."""

    model_config = STRICT

    model: str = Field(pattern=r"^[!-~]([ -~]{0,254}[!-~])?$")
    """A name that `models` knows. The caller must be allowed to use it; otherwise the call gets 429."""


def _kind_of_exceeded(value: Any) -> str | None:
    if isinstance(value, dict | OtherModel):
        return "other_model"
    return "action" if value in ("reject", "observe") else None


Exceeded = Annotated[
    Annotated[Literal["reject", "observe"], Tag("action")] | Annotated[OtherModel, Tag("other_model")],
    Discriminator(
        _kind_of_exceeded,
        custom_error_type="exceeded",
        custom_error_message="expected reject, observe, or {model: NAME}",
    ),
]


class Budget(BaseModel):
    """A limit on what callers use together who have the same `key`."""

    model_config = STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Its name, which callers are told when they have reached the limit."""
    key: str
    """CEL that gives a string: there is one budget for each value. `null`: the budget does not apply to the call. Where
    it fails, for instance because a claim is missing, the call is refused with 403."""
    when: str = "true"
    """CEL: the budget applies to calls for which it is true. Where it fails, the call is refused with 403."""
    limit: BudgetLimit
    """How much may be used."""
    per: Annotated[str, AfterValidator(_period)] | None = None
    """`minute`, `hour`, `day`, `week` (from Monday) or `month` of the calendar, or a rolling period such as `30d`.
    Required, except for `concurrent`."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    """Where days, weeks and months begin."""
    warn_at: float | None = Field(None, gt=0, lt=1)
    """Share of a limit from which answers have the header `x-gateway-budget-warning`; absent: never."""
    exceeded: Exceeded = "reject"
    """`reject`: calls beyond the limit get 429. `observe`: they are answered, with a warning. `{model: NAME}`: that
    model answers them; its own calls count in this budget, which never refuses them."""
    assumed_output_tokens: int = Field(4096, ge=0, le=1_000_000)
    """Output tokens that are reserved for a call which sets no limit of its own."""

    @model_validator(mode="after")
    def _complete(self) -> "Budget":
        if not self.limit.model_fields_set:
            raise ValueError("limit names nothing; expected usd, tokens, input_tokens, output_tokens, requests, ...")
        if self.limit.needs_period and self.per is None:
            raise ValueError("`per` is missing: the period in which the limit may be used up")
        if not self.limit.needs_period and self.per is not None:
            raise ValueError("`concurrent` counts calls at one time: it has no `per`")
        return self

    @cached_property
    def rolling_seconds(self) -> int:
        """0: a period of the calendar."""
        return _rolling(self.per or "")


Scope = Literal["user", "rbac_group", "organization"]


class Admin(BaseModel):
    """The API with which operators change limits while the gateway runs."""

    model_config = STRICT

    allow: Expressions = []
    """CEL over the caller and the request: who may use it. For whom none holds, it answers 403; `request.method ==
    "GET"` in a rule lets somebody read only."""
    scopes: dict[str, Scope] = {}
    """Name of a budget -> what the values of its key are in Anthropic's spend limits: `user`, `rbac_group`, or
    `organization` for a constant key. Absent: by the key; `jwt.sub` and `caller.id` are users, a constant is the
    organization, anything else is a group."""
