"""The keys of `prices` and `usage` in `gateway.yaml`."""

from typing import Annotated

from pydantic import BaseModel, Field

from extproc.config.schema_tls import STRICT

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
