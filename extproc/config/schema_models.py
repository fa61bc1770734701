"""Names that clients may ask for: who serves them, in which order, and who may ask."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from extproc.config.schema_providers import Preference
from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import Expressions

Check = Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _instance(kind: type) -> Check:
    return lambda value: isinstance(value, kind)


# Members of a request in any of the three APIs. An unknown one is not refused: servers add their own.
_KINDS: tuple[tuple[str, Check, tuple[str, ...]], ...] = (
    (
        "a whole number",
        _whole,
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed", "top_k", "top_logprobs"),
    ),
    ("a number", _number, ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty")),
    ("true or false", _instance(bool), ("logprobs", "parallel_tool_calls", "store", "stream")),
    ("a text", _instance(str), ("reasoning_effort", "service_tier", "system_fingerprint", "user", "verbosity")),
    ("a text or a list of texts", _texts, ("stop", "stop_sequences")),
    (
        "a mapping",
        _instance(dict),
        ("metadata", "output_config", "reasoning", "response_format", "stream_options", "text", "thinking"),
    ),
)


def _typed(members: dict[str, Any]) -> dict[str, Any]:
    """Returns the members, with numbers that came as text from a variable of the environment. Unknown members go to the
    provider as they are. Raises ValueError."""
    found = dict(members)
    for expected, check, names in _KINDS:
        for name in names:
            if name in found and found[name] is not None:
                found[name] = _from_variable(found[name]) if "number" in expected else found[name]
                if not check(found[name]):
                    raise ValueError(f"{name}: expected {expected}")
    return found


def _from_variable(value: Any) -> Any:
    try:
        return (int(value) if value.isdecimal() else float(value)) if isinstance(value, str) else value
    except ValueError:
        return value


class _Strict(BaseModel):
    model_config = STRICT


class Ruled(_Strict):
    """Rules in CEL. One `deny` that holds refuses the call; every `require` must hold; if there are `allow` rules, one
    of them must hold."""

    allow: Expressions = []
    """If there are any, one of these must be true."""
    deny: Expressions = []
    """A call for which one of these is true is refused."""
    require: Expressions = []
    """Each of these must be true."""


Members = Annotated[dict[str, Any], AfterValidator(_typed)]


class Served(_Strict):
    """What is said of a model, for all of its providers or for one of them."""

    model: str | None = None
    """Its name at the provider; absent: the name that the client sent."""
    prefer: Preference | None = None
    """As in `providers`, for this model."""
    profile: str | dict[str, Any] | None = None
    """The quirks of the model, in addition to the provider's profile."""
    context_window: int | None = Field(None, gt=0)
    """Tokens that it takes: `GET /v1/models` says so, and `extproc claude` sets the client accordingly."""
    max_output_tokens: int | None = Field(None, gt=0)
    """The most tokens that one answer can have; a client that asks for more gets as much."""
    defaults: Members = {}
    """Members set in the request's body where the client has not set them."""
    overrides: Members = {}
    """Members set in the request's body whatever the client has set."""


class Candidate(Served, Ruled):
    """One of the providers that may serve a model. What it leaves out is as the model says; its rules come in addition,
    and a candidate that they refuse to the caller is skipped."""

    provider: str
    """Key of the provider."""
    weight: int = Field(1, ge=1, le=1_000_000)
    """Its share of the calls, compared with the others of the same list."""


Candidates = Annotated[list[Candidate | Annotated[list[Candidate], Field(min_length=1)]], Field(min_length=1)]

Trigger = Literal[
    "connect", "reset", "timeout", "401", "403", "404", "429", "5xx", "529", "false_success", "context_overflow",
    "refusal",
]  # fmt: skip


def _as_text(value: Any) -> Any:
    """YAML takes a status for a number."""
    return [str(one) if isinstance(one, int) else one for one in value] if isinstance(value, list) else value


class Failover(_Strict):
    """When a call moves on from one of a model's providers to the next. There is no way back once the client has
    received the first byte."""

    on: Annotated[list[Trigger], BeforeValidator(_as_text)] = [
        "connect", "reset", "timeout", "429", "5xx", "529", "false_success",
    ]  # fmt: skip
    """What moves a call on. `connect`: no connection; `reset`: it broke before the answer, or none came; `timeout`: no
    first event in `per_try_timeout`, which holds only with it; a status of the provider's, where `5xx` is every one
    from 500 to 599; `false_success`: an answer of status 200 that is none, such as HTML, an empty body or a stream that
    fails before its first event; `context_overflow`: the request is too long for the model; `refusal`: the model
    declines before it has written anything. The last two, 401, 403 and 404 are off by default."""
    attempts: int = Field(3, ge=1, le=10)
    """Most providers that are asked in one call."""
    per_try_timeout: float = Field(60, gt=0)
    """Seconds that each attempt may take until its first event."""
    total: float = Field(180, gt=0)
    """Seconds after which no further attempt begins."""


class Choice(_Strict):
    """Providers for calls of one kind."""

    when: str
    """A CEL expression; the first that is true chooses."""
    providers: Candidates
    """As the model's own `providers`."""


class Mirror(Served):
    """A provider that gets a copy of some calls, whose answers nobody waits for: to compare it before it serves. On
    record are its outcome, tokens and time, never its texts. What the provider answers has to be paid for."""

    provider: str
    """Key of the provider."""
    share: float = Field(0.05, gt=0, le=1)
    """The share of the model's calls that are copied, from 0 to 1."""


class Model(Served, Ruled):
    """A name or a pattern of names that clients may ask for, and its own rules."""

    name: str
    """The name that clients ask for; `*` in it stands for any text. The first match counts."""
    aliases: list[Annotated[str, Field(pattern=r"^[^*]+$", max_length=256)]] = []
    """Further names of the model. `GET /v1/models` lists them, also those that match a `*` in `name`."""
    provider: str | None = None
    """Key of the provider that serves it, where there is only one."""
    providers: Candidates | None = None
    """The providers that may serve it, instead of `provider`: the next one is asked where one fails. A list among them
    is a draw by weight; the others of it come next."""
    failover: Failover = Failover()
    """When the next of `providers` is asked."""
    sticky: str | None = None
    """Calls for which this is equal are drawn alike, which keeps prompt caches warm: `session`, or a CEL expression
    that gives a string."""
    choose: list[Choice] = []
    """Other providers for some calls; the first entry that holds counts, else `providers`."""
    mirror: Mirror | None = None
    """A provider that gets a copy of some calls."""

    @model_validator(mode="after")
    def _served(self) -> "Model":
        if (self.provider is None) == (self.providers is None):
            raise ValueError("needs either `provider` or `providers`")
        several = self.model_fields_set & {"failover", "sticky", "choose"}
        if self.providers is None and several:
            raise ValueError(f"{', '.join(sorted(several))}: only with `providers`")
        return self

    @property
    def lists(self) -> Iterator[tuple[tuple[str | int, ...], Sequence[Candidate | list[Candidate]]]]:
        """Each list of candidates, with its place below the model."""
        if self.providers is not None:
            yield ("providers",), self.providers
        elif self.provider is not None and self.mirror is not None:
            # What is copied is the call as it was admitted, so it is handed over like one that has several.
            yield (), [Candidate(provider=self.provider)]
        for number, choice in enumerate(self.choose):
            yield ("choose", number, "providers"), choice.providers
