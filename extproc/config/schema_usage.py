"""The keys of `prices`, `usage` and `console` in `gateway.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, Field

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import Expressions, Secret

Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class PriceOverride(BaseModel):
    """Prices of a model in USD per million tokens, in the place of those that the package genai-prices knows."""

    model_config = STRICT

    model: str = Field(min_length=1, max_length=256)
    """The model's name at its provider; `*` stands for any text, and case does not count. The first match counts."""
    provider: str | None = None
    """Key of the provider that it is for; absent: all of them."""
    input: Usd
    """Input that is neither read from a cache nor written to one."""
    output: Usd
    """Output, thinking included."""
    cache_read: Usd | None = None
    """Input read from the provider's cache; absent: as `input`."""
    cache_write: Usd | None = None
    """Input written to the provider's cache, for whatever time; absent: as `input`."""


class Prices(BaseModel):
    """What models cost. Most models of the large vendors need nothing: they are known by the address of the provider
    and the name of the model there."""

    model_config = STRICT

    overrides: list[PriceOverride] = []
    """Prices of models that are not known, or not at this price."""


SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


def _database_url(url: str) -> str:
    problem = "expected postgresql://USER@HOST:PORT/DATABASE, without a password (password: {env: NAME})"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(problem) from None  # the error's own text would quote what may be a password
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or port == 0 or parts.password is not None:
        raise ValueError(problem)
    if not parts.username or not parts.path.strip("/") or parts.fragment:
        raise ValueError(problem)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "sslmode" or value not in SSL_MODES:
            raise ValueError(f"the URL's query has nothing but sslmode, one of {', '.join(SSL_MODES)}")
    return url


class PostgreSql(BaseModel):
    """A database of PostgreSQL 13 or newer, which several gateways may share."""

    model_config = STRICT

    url: Annotated[str, AfterValidator(_database_url)]
    """`postgresql://USER@HOST:PORT/DATABASE`. The certificate of any host but this one is verified, unless the URL ends
    in `?sslmode=`."""
    password: Secret | None = None
    """Password of the user."""
    ca_file: Path | None = None
    """Trusted roots instead of the system's, for a private certificate authority."""


class Usage(BaseModel):
    """The ledger of calls: who asked which model, how many tokens that took, and what it cost. No texts."""

    model_config = STRICT

    postgresql: PostgreSql | None = None
    """Where it is kept; absent: in SQLite, in the folder of `store`."""
    retention: str = Field("400d", pattern=r"^[1-9]\d{0,4}d$")
    """Days after which a call is removed."""
    claims: list[str] = []
    """Claims that are kept with each call, besides those of `records.claims`. They are in the log, too."""

    @property
    def retention_seconds(self) -> float:
        return int(self.retention[:-1]) * 86400.0


class Console(BaseModel):
    """Pages at `/console` that show the ledger and the state of the gateway."""

    model_config = STRICT

    allow: Expressions = []
    """CEL over `jwt`, the claims of a person who has signed in. For whom one holds, everybody's calls, the providers
    and the configuration are shown; for all others their own calls alone."""


def logged_claims(records: Sequence[str], usage: Usage | None) -> list[str]:
    """Returns the names of the claims that are in the log. `records`: `records.claims`."""
    return list(dict.fromkeys([*records, *(usage.claims if usage is not None else ())]))
