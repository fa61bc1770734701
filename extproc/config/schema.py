"""The keys of `gateway.yaml`, their types and defaults."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from extproc.config.schema_auto_mode import AutoMode
from extproc.config.schema_budgets import Admin, Budget
from extproc.config.schema_limits import Limits
from extproc.config.schema_models import Model, Ruled
from extproc.config.schema_providers import Provider, choices, one_of
from extproc.config.schema_records import Health, Metrics, Records, Tracing
from extproc.config.schema_sign_in import Settings, SignIn, Web
from extproc.config.schema_store import Store
from extproc.config.schema_telemetry import Telemetry
from extproc.config.schema_tls import STRICT, ListenTls, Processor
from extproc.config.schema_usage import Console, Prices, Usage
from extproc.config.schema_values import KeyUrl
from extproc.wire import cloud_apis, dialects


class _Strict(BaseModel):
    model_config = STRICT


class Listen(_Strict):
    """Envoy's listener for clients."""

    address: str = "127.0.0.1"
    """IP address that Envoy listens on; `0.0.0.0` and `::` mean all addresses of the machine."""
    port: int = Field(8080, ge=0, le=65535)
    """0: any free port."""
    tls: ListenTls | None = None
    """Certificate of the listener; absent: plain HTTP."""


class Jwks(_Strict):
    """An issuer's public keys (RFC 7517), from one of four places."""

    file: Path | None = None
    """A file with a JSON Web Key Set."""
    inline: dict[str, Any] | None = None
    """The JSON Web Key Set itself."""
    url: KeyUrl | None = None
    """Where the set is fetched from, by HTTPS; plain HTTP on this machine only."""
    discovery: KeyUrl | None = None
    """The issuer's URL, or that of its `/.well-known/openid-configuration`."""
    refresh: float = Field(300, ge=1, le=86400)
    """Most seconds between two fetches. A shorter `max-age` of the answer is followed, down to 10 s."""
    max_stale: float = Field(86400, ge=0, le=30 * 86400)
    """Seconds beyond `refresh` for which keys stay in use when they cannot be fetched again. For a file: seconds for
    which its keys stay in use after it has been deleted."""
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
    """An issuer of tokens (JWT)."""

    issuer: str = Field(min_length=1)
    """`iss` of its tokens, letter by letter."""
    audiences: list[str] = Field(min_length=1)
    """`aud` of a token must have one of these."""
    jwks: Jwks
    """Its public keys."""
    algorithms: list[Algorithm] = Field(["RS256"], min_length=1)
    """Signatures that are accepted. HMAC and `none` are not supported."""
    leeway: int = Field(30, ge=0, le=600)
    """Seconds by which the issuer's clock may differ from ours."""
    required_claims: list[str] = []
    """Claims that a token must have besides `iss`, `aud` and `exp`, which are always required."""
    token_types: list[str] = ["JWT", "at+jwt", "JOSE"]
    """Values of `typ` that are accepted, if a token has one. Other kinds, such as `logout+jwt`, are signed by the same
    keys but do not say who calls."""

    @cached_property
    def media_types(self) -> frozenset[str]:
        """As `tokens.media_type` writes them."""
        return frozenset(name.lower().removeprefix("application/") for name in self.token_types)


class HeaderLocation(_Strict):
    """A header that carries the credential."""

    header: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """Its name in lower case. Its whole value is the credential."""


class CookieLocation(_Strict):
    """A cookie that carries the credential."""

    cookie: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of a cookie whose value is the credential."""


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
    """Static keys for machines."""

    file: Path
    """A YAML list of keys as SHA-256 digests, with their claims."""
    max_stale: float = Field(86400, ge=0, le=30 * 86400)
    """Seconds for which its keys stay in use after the file has been deleted."""


class Certificates(_Strict):
    """Callers known by the TLS client certificates that `listen.tls.client_ca` verifies."""

    trust_domains: list[Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,255}$")]] = []
    """SPIFFE trust domains: a certificate of another one, or without a SPIFFE ID, is refused. Empty: any
    certificate proves its caller."""


class Authentication(_Strict):
    """How callers prove who they are."""

    mode: Literal["strict", "optional", "permissive"] = "strict"
    """`strict`: a call needs a valid credential. `optional`: a call without one is anonymous, a bad one is refused.
    `permissive`: no call is refused for its credential."""
    jwt: list[Issuer] = []
    """Issuers whose tokens are accepted."""
    api_keys: ApiKeys | None = None
    """Static keys for machines, as `extproc key new` makes them."""
    certificates: Certificates | None = None
    """Callers known by their TLS client certificates."""
    locations: list[Location] = Field(["authorization", "x-api-key"], min_length=1)
    """Where a request may carry its credential."""
    # Envoy refuses requests with more than 60 KiB of headers.
    max_token_bytes: int = Field(16 * 1024, ge=256, le=48 * 1024)
    """A longer credential is refused unread."""
    token_cache_bytes: int = Field(16 * 1024 * 1024, ge=0)
    """Memory of each worker for verified tokens; the default holds about 10,000 of usual size. Other tokens are
    verified again with each call, which takes about 0.1 ms."""


PASSTHROUGH = "passthrough"


def _served(name: str) -> str:
    return one_of(name, (*dialects.names(), *cloud_apis.names(), PASSTHROUGH))


Served = Annotated[str, choices(*cloud_apis.names(), PASSTHROUGH), AfterValidator(_served)]
"""A dialect, a cloud's API (wire/cloud_apis.py), or `passthrough`."""


class Route(Ruled):
    """A path, what is served there, and its own rules."""

    path: str = Field(pattern=r"^(/[^*?#]*\*?|\*)$")
    """The exact path, or with `*` at its end all paths that begin so."""
    serve: Served
    """The API at this path, or `passthrough`: to the provider as it is."""
    provider: str | None = None
    """The provider that answers here. Required for `passthrough`; otherwise for models that match no rule of
    `models`."""

    @model_validator(mode="after")
    def _complete(self) -> "Route":
        if self.serve == PASSTHROUGH and self.provider is None:
            raise ValueError("passthrough needs a provider")
        if self.serve != PASSTHROUGH and self.path.endswith("*"):
            raise ValueError(f"{self.serve} is served at a path and below it, without `*`")
        return self


class Streaming(_Strict):
    """Streamed answers; times in seconds."""

    first_event_hold: float = Field(10, gt=0)
    """How long the status of a stream is held back until its first event arrives."""
    ping_interval: float = Field(15, gt=0)
    """Time without output after which a streaming client gets a keep-alive event."""


class Config(_Strict):
    listen: Listen = Listen()
    """Where clients connect."""
    authentication: Authentication
    """How callers prove who they are."""
    authorization: Ruled = Ruled()
    """Rules for every call."""
    providers: dict[str, Provider] = Field(min_length=1)
    """Servers of models, by a name of your own."""
    models: list[Model] = []
    """Names that clients may ask for, and who answers; the first match counts."""
    routes: list[Route] = []
    """Paths besides those that are always served."""
    models_shape: Literal["client", "merged"] = "client"
    """`merged`: `GET /v1/models` answers with the members of both dialects to every client."""
    translation: dict[str, Any] = {}
    """Profile keys for every provider and model, such as `strictness`."""
    streaming: Streaming = Streaming()
    """Streamed answers."""
    records: Records = Records()
    """Further fields of the log."""
    metrics: Metrics | None = None
    """Prometheus metrics; absent: none."""
    health: Health | None = None
    """Health checks over HTTP; absent: only those of `metrics`."""
    tracing: Tracing | None = None
    """Spans; absent: none. Needs the extra `traces` of the package."""
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """A request's body beyond that is a 413."""
    limits: Limits = Limits()
    """Limits of workers, callers, bodies, connections and the log."""
    workers: int | None = Field(None, ge=1, le=64)
    """Processes that answer Envoy; absent: one for each core."""
    processor: Processor = Processor()
    """Certificates between Envoy and a processor on TCP."""
    auto_mode: AutoMode | None = None
    """Verdicts on tool calls for clients in auto mode; absent: none."""
    sign_in: SignIn | None = None
    """Company login; absent: none."""
    managed_settings: list[Settings] = []
    """Settings of Claude Code for callers who are signed in."""
    telemetry: Telemetry | None = None
    """Intake of clients' telemetry; absent: none."""
    prices: Prices = Prices()
    """What models cost, for the record of each call."""
    usage: Usage | None = None
    """The ledger of calls; absent: none. Needs the extra `usage` of the package, or `postgresql`."""
    budgets: list[Budget] = []
    """Limits on what callers use."""
    admin: Admin | None = None
    """The API with which operators show and change limits of `budgets`; absent: none."""
    console: Console | None = None
    """Pages at `/console` for people; absent: none. It needs the ledger, so `usage` is on where it is."""
    store: Store = Store()
    """Where what outlives a call is kept."""
    web: Web = Web()
    """The process that serves pages and other paths beside the models'."""

    @model_validator(mode="before")
    @classmethod
    def _console_has_ledger(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("console") is not None and "usage" not in value:
            return {**value, "usage": {}}
        return value

    @model_validator(mode="after")
    def _room(self) -> "Config":
        if self.limits.body_bytes < self.max_body_bytes:
            raise ValueError(f"limits.body_bytes has no room for one body of {self.max_body_bytes} (max_body_bytes)")
        return self
