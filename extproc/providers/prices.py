"""What a call costs, in USD.

Prices are those of the package genai-prices, which ships them with each release and fetches nothing unless it is told
to; `prices.overrides` come first. What has no price is None, never 0.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from extproc.config import hints
from extproc.config.faults import Fault, Where
from extproc.config.schema import Config
from extproc.config.schema_usage import PriceOverride
from extproc.providers.catalogue import Catalogue
from extproc.providers.providers import Provider

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

log = logging.getLogger("extproc")

CURRENCY = "USD"
DIGITS = 9
"""Costs are rounded to so many digits: sums of them as whole numbers are exact."""
MAX_KEPT = 1000
_MILLION = 1_000_000
_SECONDS = 60
"""Some prices depend on the date or the time of day, to the minute."""

Steps = tuple[tuple[int, float], ...]
"""Prices by the size of the whole input, ascending: above so many tokens, USD a token."""


class Tokens(Protocol):
    """What a call used. The four parts do not overlap."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    cache_creation_1h_input_tokens: int
    """Part of cache_creation_input_tokens."""
    thinking_tokens: int | None
    """Part of output_tokens."""
    web_searches: int
    service_tier: str
    """How the provider served the call, in its own word; empty: not said."""


class Rates(msgspec.Struct, frozen=True):
    """Prices at one moment, for one service tier."""

    input: Steps
    output: Steps
    cache_read: Steps
    cache_write: Steps
    cache_write_1h: Steps
    thinking: Steps
    web_search: float = 0.0
    call: float = 0.0

    def cost(self, used: Tokens) -> float:
        """Returns USD."""
        read, written = used.cache_read_input_tokens, used.cache_creation_input_tokens
        thinking, size = min(used.thinking_tokens or 0, used.output_tokens), used.input_tokens + read + written
        total = used.input_tokens * _at(self.input, size) + (used.output_tokens - thinking) * _at(self.output, size)
        if thinking:
            total += thinking * _at(self.thinking, size)
        if read or written:
            hour = min(used.cache_creation_1h_input_tokens, written)
            total += read * _at(self.cache_read, size) + (written - hour) * _at(self.cache_write, size)
            total += hour * _at(self.cache_write_1h, size)
        return round(total + used.web_searches * self.web_search + self.call, DIGITS)

    def per_token(self, size: int) -> dict[str, float]:
        """Returns USD a token by kind, for a whole input of `size` tokens."""
        kinds = {"input": self.input, "cache_read": self.cache_read, "cache_write": self.cache_write}
        return {kind: _at(steps, size) for kind, steps in (*kinds.items(), ("output", self.output))}


def _at(steps: Steps, size: int) -> float:
    if len(steps) == 1:
        return steps[0][1]
    return next(price for start, price in reversed(steps) if size > start or start == 0)


class Tariff(Protocol):
    """What one model costs, by the time and by how it was served."""

    def rates(self, tier: str, when: float) -> Rates | None:
        """`when`: Unix seconds. None: tokens have no price."""


class _Fixed:
    def __init__(self, override: PriceOverride) -> None:
        read, write = (override.input if n is None else n for n in (override.cache_read, override.cache_write))
        output = _steps(override.output)
        self._rates = Rates(_steps(override.input), output, _steps(read), _steps(write), _steps(write), output)

    def rates(self, tier: str, when: float) -> Rates | None:
        return self._rates


class _Published:
    """A model of genai-prices."""

    def __init__(self, model: "ModelInfo", *, own: bool) -> None:
        """`own`: not another vendor's model, whose prices for a service tier mean nothing here."""
        self._model = model
        self._own = own
        self._kept: dict[str, tuple[int, Rates | None]] = {}

    def rates(self, tier: str, when: float) -> Rates | None:
        minute, tier = int(when // _SECONDS), tier if self._own else ""
        known = self._kept.get(tier)
        if known is not None and known[0] == minute:
            return known[1]
        if len(self._kept) >= MAX_KEPT:  # the word is the provider's
            self._kept.clear()
        found = _rates(self._model.get_prices(datetime.fromtimestamp(when, UTC), _context(tier)))
        self._kept[tier] = minute, found
        return found


def _context(tier: str) -> dict[str, str]:
    """The same thing has another member at each vendor."""
    return {"service_tier": tier, "processing": tier, "speed": tier} if tier else {}


def _rates(prices: "ModelPrice") -> Rates | None:
    """A kind of token without a price of its own costs what the kind that it is part of does."""
    found: Mapping[str, Any] = {name: value for name, value in vars(prices).items() if value is not None}
    given = found.get("input_mtok")
    out = found.get("output_mtok")
    if given is None and out is None:
        return None
    write = found.get("cache_write_mtok", given)
    return Rates(
        _steps(given),
        _steps(out),
        _steps(found.get("cache_read_mtok", given)),
        _steps(found.get("cache_write_5m_mtok", write)),
        _steps(found.get("cache_write_1h_mtok", write)),
        _steps(found.get("output_reasoning_mtok", out)),
        float(found.get("web_searches_kcount", 0)) / 1000,
        float(found.get("requests_kcount", 0)) / 1000,
    )


def _steps(price: Any) -> Steps:
    if price is None:
        return ((0, 0.0),)
    base = getattr(price, "base", price)
    tiers = ((tier.start, float(tier.price) / _MILLION) for tier in getattr(price, "tiers", ()))
    return ((0, float(base) / _MILLION), *tiers)


class Price:
    """What a model costs at a provider; looked up when a call has used something."""

    def __init__(self, prices: "Prices", provider: Provider, model: str) -> None:
        self._prices = prices
        self._provider = provider
        self._tariff = prices.tariff(provider, model)

    def cost(self, used: Tokens, answered: str, when: float) -> float | None:
        """Returns USD, or None for an unpriced model. `answered`: the provider's name for the model that answered,
        which counts where there is no price for the name that was asked for. `when`: Unix seconds."""
        tariff = self._tariff or (self._prices.tariff(self._provider, answered) if answered else None)
        rates = tariff.rates(used.service_tier, when) if tariff is not None else None
        return rates.cost(used) if rates is not None else None


class Prices:
    """The prices of a configuration. Each model is looked up once at each provider."""

    def __init__(self, overrides: Sequence[PriceOverride] = ()) -> None:
        rules = [(_pattern(one.model), one.provider, _Fixed(one)) for one in overrides]
        self._tariffs = lru_cache(maxsize=MAX_KEPT)(partial(_find, rules))

    def price(self, provider: Provider, model: str) -> Price:
        """`model`: its name at the provider."""
        return Price(self, provider, model)

    def tariff(self, provider: Provider, model: str) -> Tariff | None:
        """None: the model has no price."""
        return self._tariffs(provider.name, provider.vendor, provider.base_url, model)


def _find(
    rules: Sequence[tuple[re.Pattern[str], str | None, _Fixed]],
    name: str,
    vendor: str | None,
    base_url: str,
    model: str,
) -> Tariff | None:
    for pattern, only, fixed in rules:
        if only in (None, name) and pattern.fullmatch(model):
            return fixed
    data = published()
    if data is None:
        return None
    try:
        found, known = data.find_provider_model(model, None, vendor, None if vendor else base_url)
    except LookupError:
        return None
    return _Published(known, own=any(known is own for own in found.models))


def faults(config: Config) -> Iterator[Fault]:
    """Providers and vendors that `prices` names and that do not exist."""
    for index, override in enumerate(config.prices.overrides):
        if override.provider is not None and override.provider not in config.providers:
            problem = f"no provider is named {override.provider!r}; there are: {', '.join(config.providers)}"
            yield Fault(("prices", "overrides", index, "provider"), problem)
    for name, provider in config.providers.items():
        if provider.prices is not None and (data := published()) is not None:
            known = [vendor.id for vendor in data.providers]
            if provider.prices not in known:
                problem = f"genai-prices has no vendor {provider.prices!r}{hints.meant(provider.prices, known)}"
                yield Fault(("providers", name, "prices"), problem)


def unpriced(catalogue: Catalogue, known: Prices) -> Iterator[tuple[Where, str]]:
    """Models of the configuration whose calls will have no cost."""
    for rule in catalogue.rules:
        name = rule.settings.model or rule.settings.name
        if "*" in name and _has_prices(rule.provider):
            continue
        if known.tariff(rule.provider, name) is None:
            unknown = f"no price is known for {name!r} at {rule.provider.name!r}, so its calls are unpriced"
            yield ("models", rule.index), f"{unknown}; see `prices.overrides`, and `prices` of the provider"


def _has_prices(provider: Provider) -> bool:
    """Whether some models of the provider have prices."""
    data = published()
    try:
        vendor = provider.vendor
        return data is not None and bool(data.find_provider(None, vendor, None if vendor else provider.base_url))
    except LookupError:
        return False


@cache
def published() -> "DataSnapshot | None":
    """The prices that the package ships, loaded once (0.06 s, 8 MB); None where it cannot be loaded."""
    try:
        from genai_prices.data_snapshot import get_snapshot

        return get_snapshot()
    except ImportError as error:
        log.error("no call has a price but by `prices.overrides`: genai-prices cannot be loaded: %s", error)
        return None


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL | re.IGNORECASE)
