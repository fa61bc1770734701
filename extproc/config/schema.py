"""The keys of `gateway.yaml`, their types and defaults."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from extproc.config import members
from extproc.config.schema_limits import Limits
from extproc.config.schema_sign_in import Settings, SignIn, Store, Web
from extproc.config.schema_tls import STRICT, Processor, Tls
from extproc.config.schema_values import Expressions, KeyUrl, Secret
from extproc.wire import Dialect


class _Strict(BaseModel):
    model_config = STRICT


class Listen(_Strict):
    address: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    tls: Tls | None = None


class Jwks(_Strict):
    """An issuer's public keys (RFC 7517), from one of four places."""

    file: Path | None = None
    inline: dict[str, Any] | None = None
    url: KeyUrl | None = None
    discovery: KeyUrl | None = None
    """The issuer's URL, or that of its `/.well-known/openid-configuration`."""
    refresh: float = Field(300, ge=1, le=86400)
    """Seconds between two fetches at most; a shorter `max-age` of the answer is followed, down to 10 s."""
    max_stale: float = Field(86400, ge=0, le=30 * 86400)
    """Seconds beyond that for which keys are used that cannot be fetched again; of a file, seconds for which its keys
    are used after it has been deleted."""
    ca_file: Path | None = None
    """Trusted roots instead of the public ones, for a private certificate authority."""

    @model_validator(mode="after")
    def _one_source(self) -> "Jwks":
        if [self.file, self.inline, self.url, self.discovery].count(None) != 3:
            raise ValueError("keys come from exactly one of: file, inline, url, discovery")
        fetching = self.model_fields_set & {"refresh", "ca_file"}
        if fetching and not self.fetched:
            raise ValueError(f"{', '.join(sorted(fetching))}: only for keys that are fetched, by url or discovery")
        if "max_stale" in self.model_fields_set and self.inline is not None:
            raise ValueError("max_stale: only for keys that are fetched or in a file")
        return self

    @property
    def fetched(self) -> bool:
        return self.url is not None or self.discovery is not None


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Issuer(_Strict):
    issuer: str = Field(min_length=1)
    audiences: list[str] = Field(min_length=1)
    jwks: Jwks
    algorithms: list[Algorithm] = Field(["RS256"], min_length=1)
    leeway: int = Field(30, ge=0, le=600)
    """Seconds by which clocks may differ."""
    required_claims: list[str] = []
    """Besides `iss`, `aud` and `exp`, which every token must have."""
    token_types: list[str] = ["JWT", "at+jwt", "JOSE"]
    """What `typ` may be where a token has one: other kinds, such as `logout+jwt`, are signed by the same keys."""

    @cached_property
    def media_types(self) -> frozenset[str]:
        """As `tokens.media_type` writes them."""
        return frozenset(name.lower().removeprefix("application/") for name in self.token_types)


class HeaderLocation(_Strict):
    header: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """In lower case; its whole value is the credential."""


class CookieLocation(_Strict):
    cookie: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")


def _kind_of_location(value: Any) -> str:
    if isinstance(value, Mapping):
        return "cookie" if "cookie" in value else "header"
    return "header" if isinstance(value, HeaderLocation) else "cookie" if isinstance(value, CookieLocation) else "name"


Location = Annotated[
    Annotated[Literal["authorization", "x-api-key"], Tag("name")]
    | Annotated[HeaderLocation, Tag("header")]
    | Annotated[CookieLocation, Tag("cookie")],
    Discriminator(_kind_of_location),
]


class ApiKeys(_Strict):
    file: Path
    max_stale: float = Field(86400, ge=0, le=30 * 86400)
    """Seconds for which its keys are good after the file has been deleted."""


class Authentication(_Strict):
    mode: Literal["strict", "optional", "permissive"] = "strict"
    jwt: list[Issuer] = []
    api_keys: ApiKeys | None = None
    """Static keys for machines, as `extproc key new` makes them."""
    locations: list[Location] = Field(["authorization", "x-api-key"], min_length=1)
    """Where a request may carry its credential."""
    max_token_bytes: int = Field(16 * 1024, ge=256, le=48 * 1024)
    token_cache_bytes: int = Field(16 * 1024 * 1024, ge=0)
    """Memory of a worker for tokens that have been verified, some 10,000 of usual size. What does not fit is verified
    again, which takes about 0.1 ms."""


class Ruled(_Strict):
    """CEL. Any deny wins; every `require` must hold; of `allow`, if there are any, one must."""

    allow: Expressions = []
    deny: Expressions = []
    require: Expressions = []


_NO_URL = "expected a URL such as https://api.openai.com/v1"


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None  # the error's own text would quote what may be a password
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(_NO_URL)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a base URL has no credential, query or fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a base URL is ASCII without blanks")
    return url.rstrip("/")


class Timeouts(_Strict):
    """Seconds."""

    connect: float = Field(5, gt=0)
    first_byte: float | None = Field(None, gt=0)
    """Of each attempt, from the end of the request to the headers of the answer; absent: `idle` decides."""
    idle: float = Field(900, gt=0)
    """Without a byte of the provider's. A plain answer of ten minutes is silent until it is there."""
    total: float | None = Field(None, gt=0)
    """For the whole answer; absent: as long as it flows."""


class Retries(_Strict):
    """Before the client got a byte: where there was no connection, where it broke off before the answer, and where
    the provider itself said with a 429, 503 or 529 when to come again. `off` is one attempt."""

    attempts: int = Field(2, ge=1, le=10)
    """In all, the first one included."""
    longest_wait: int = Field(2, ge=0, le=60)
    """Seconds: a longer `retry-after` is the client's business; 0: all are."""
    budget: float = Field(20, gt=0, le=100)
    """Percent of the calls to this provider that may be repetitions, three in any case."""

    @model_validator(mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return {"attempts": 1} if value is False else value  # YAML's `off`


class ProviderLimits(_Strict):
    """At once; what is beyond them is refused as overloaded."""

    connections: int = Field(10_000, ge=1)
    requests: int = Field(10_000, ge=1)
    pending: int = Field(10_000, ge=1)
    """Calls that wait for a connection."""


class Outliers(_Strict):
    """An address of a provider's that fails is left alone for a while, as long as there are others."""

    failures: int = Field(5, ge=1)
    """In a row, without a success between: no connection, a connection that breaks, silence."""
    pause: float = Field(30, gt=0)
    """Seconds, the first time; longer each time."""
    share: int = Field(50, ge=0, le=100)
    """Percent of the addresses at most; 0: none."""


KeyHeader = Literal["authorization", "x-api-key"]


class Provider(_Strict):
    dialects: list[Dialect] = Field(min_length=1)
    base_url: Annotated[str, AfterValidator(_base_url)]
    api_key: Secret | None = None
    key_header: KeyHeader | None = None
    """Which header carries the key: `x-api-key`, or `authorization` with `Bearer`. Else it follows from the dialect of
    the call: `x-api-key` for Messages."""
    profile: str | dict[str, Any] | None = None
    version: str = Field("2023-06-01", pattern=r"^(client|\d{4}-\d{2}-\d{2})$")
    """`anthropic-version` sent to it; `client`: the client's own, where it sent one."""
    ca_file: Path | None = None
    """Trusted roots instead of the system's, for a private certificate authority."""
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    limits: ProviderLimits = ProviderLimits()
    outliers: Outliers = Outliers()


Members = Annotated[dict[str, Any], AfterValidator(members.typed)]


class Model(Ruled):
    name: str
    aliases: list[Annotated[str, Field(pattern=r"^[^*]+$", max_length=256)]] = []
    """Further names of it. `GET /v1/models` lists them, also those that a `*` in `name` stands for."""
    provider: str
    model: str | None = None
    profile: str | dict[str, Any] | None = None
    context_window: int | None = Field(None, gt=0)
    max_output_tokens: int | None = Field(None, gt=0)
    defaults: Members = {}
    overrides: Members = {}


class Route(Ruled):
    path: str = Field(pattern=r"^(/[^*?#]*\*?|\*)$")
    """As it is, or all that begins so when it ends in `*`."""
    serve: Literal["messages", "chat", "responses", "passthrough"]
    provider: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Route":
        if self.serve == "passthrough" and self.provider is None:
            raise ValueError("passthrough needs a provider")
        if self.serve != "passthrough" and self.path.endswith("*"):
            raise ValueError(f"{self.serve} is served at a path and below it, without `*`")
        return self


class Streaming(_Strict):
    """Seconds."""

    first_event_hold: float = Field(10, gt=0)
    """How long a stream's status is held back, waiting for its first event."""
    ping_interval: float = Field(15, gt=0)


class Asked(_Strict):
    """Where the supervisor answers questions about itself."""

    address: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)


class Health(Asked):
    """Where Kubernetes and compose ask: `http://ADDRESS:PORT/livez` and `/readyz`."""


class Metrics(Asked):
    """Where Prometheus finds them: `http://ADDRESS:PORT/metrics`. `/livez` and `/readyz` answer there, too."""

    claims: list[str] = []
    """Claims of the token that become labels, `caller_<claim>`."""

    @model_validator(mode="after")
    def _distinct(self) -> "Metrics":
        if len({label_of(claim) for claim in self.claims}) < len(self.claims):
            raise ValueError("two of these claims would make the same label")
        return self


def label_of(claim: str) -> str:
    """https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels"""
    return "caller_" + re.sub(r"[^a-zA-Z0-9_]", "_", claim)


class Tracing(_Strict):
    """One span a call, by OTLP over HTTP."""

    endpoint: Annotated[str, AfterValidator(_base_url)]
    """A collector, such as http://localhost:4318; `/v1/traces` below it unless it names a path of its own."""
    headers: dict[str, Secret] = {}
    sample: float = Field(1.0, ge=0, le=1)
    """The share of calls that are traced where the caller has not decided."""


class Records(_Strict):
    claims: list[str] = []
    """Claims of the token that appear in every record as `caller.<claim>`."""


class Config(_Strict):
    listen: Listen = Listen()
    authentication: Authentication
    authorization: Ruled = Ruled()
    providers: dict[str, Provider] = Field(min_length=1)
    models: list[Model] = []
    routes: list[Route] = []
    models_shape: Literal["client", "merged"] = "client"
    """`merged`: `GET /v1/models` answers with the members of both dialects, whoever asks."""
    translation: dict[str, Any] = {}
    """Profile keys for every provider and model, such as `strictness`."""
    streaming: Streaming = Streaming()
    records: Records = Records()
    metrics: Metrics | None = None
    health: Health | None = None
    tracing: Tracing | None = None
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    limits: Limits = Limits()
    workers: int | None = Field(None, ge=1, le=64)
    processor: Processor = Processor()
    sign_in: SignIn | None = None
    managed_settings: list[Settings] = []
    store: Store = Store()
    web: Web = Web()

    @model_validator(mode="after")
    def _room(self) -> "Config":
        if self.limits.body_bytes < self.max_body_bytes:
            raise ValueError(f"limits.body_bytes has no room for one body of {self.max_body_bytes} (max_body_bytes)")
        return self
