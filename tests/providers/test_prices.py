import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers as vendors

from extproc.config.schema_usage import PriceOverride
from extproc.providers import prices
from extproc.providers.prices import Prices
from extproc.providers.providers import Provider
from extproc.translate.pair import Usage
from tests.settings import AUTHENTICATION, MODELS, PROVIDERS, faults, gateway

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
ANTHROPIC, OPENAI = "https://api.anthropic.com", "https://api.openai.com/v1"
USED = Usage(input_tokens=1000, output_tokens=100)
ALL_KINDS = Usage(
    input_tokens=1000,
    output_tokens=500,
    cache_read_input_tokens=20_000,
    cache_creation_input_tokens=3000,
    cache_creation_1h_input_tokens=1000,
    thinking_tokens=200,
    web_searches=2,
)
LONG = Usage(input_tokens=150_000, output_tokens=500, cache_read_input_tokens=120_000)


def at(base_url: str, vendor: str | None = None, name: str = "mine") -> Provider:
    return Provider(name, ("chat",), base_url, None, vendor=vendor)


def cost(
    base_url: str, model: str, used: Usage = USED, known: Prices | None = None, answered: str = "", **of: Any
) -> float | None:
    return (known or Prices()).price(at(base_url, **of), model).cost(used, answered, NOW)


def published(vendor: str, model: str, used: Usage, when: float = NOW, **context: str) -> float:
    """What the package itself makes of it."""
    counts = {
        "input_tokens": used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens,
        "cache_read_tokens": used.cache_read_input_tokens,
        "cache_write_tokens": used.cache_creation_input_tokens,
        "cache_write_1h_tokens": used.cache_creation_1h_input_tokens,
        "output_tokens": used.output_tokens,
        "output_reasoning_tokens": used.thinking_tokens or 0,
        "web_searches": used.web_searches,
    }
    moment = datetime.fromtimestamp(when, UTC)
    found = genai_prices.calc_price(
        genai_prices.Usage(**counts),
        model,
        provider_id=vendor,
        genai_request_timestamp=moment,
        price_context=context or None,
    )
    return float(found.total_price)


def test_tokens_of_each_kind_have_their_price() -> None:
    expected = (1000 * 2 + 500 * 10 + 20_000 * 0.2 + 2000 * 2.5 + 1000 * 4) / 1e6 + 2 * 10 / 1000
    assert cost(ANTHROPIC, "claude-sonnet-5", ALL_KINDS) == pytest.approx(expected, abs=1e-9)


def test_a_long_input_costs_more_for_all_of_its_tokens() -> None:
    short = cost(ANTHROPIC, "claude-sonnet-4-5", Usage(input_tokens=200_000))
    assert short == pytest.approx(200_000 * 3 / 1e6)
    assert cost(ANTHROPIC, "claude-sonnet-4-5", LONG) == pytest.approx((150_000 * 6 + 120_000 * 0.6 + 500 * 22.5) / 1e6)


@pytest.mark.parametrize(
    ("base_url", "vendor", "model", "tier", "context"),
    [
        (OPENAI, "openai", "gpt-5.2", "priority", "service_tier"),
        (OPENAI, "openai", "gpt-5.2", "flex", "service_tier"),
        (ANTHROPIC, "anthropic", "claude-sonnet-5", "batch", "processing"),
        (ANTHROPIC, "anthropic", "claude-opus-5", "fast", "speed"),
    ],
)
def test_the_service_tier_counts(base_url: str, vendor: str, model: str, tier: str, context: str) -> None:
    used = Usage(input_tokens=1000, output_tokens=100, service_tier=tier)
    found = cost(base_url, model, used)
    assert found == pytest.approx(published(vendor, model, used, NOW, **{context: tier}), abs=1e-9)
    assert found != cost(base_url, model)


def test_a_tier_that_nobody_knows_costs_what_the_standard_does() -> None:
    for tier in ("standard", "default", "\N{SNOWMAN}"):
        used = Usage(input_tokens=1000, output_tokens=100, service_tier=tier)
        assert cost(ANTHROPIC, "claude-sonnet-5", used) == cost(ANTHROPIC, "claude-sonnet-5")


@pytest.mark.parametrize("used", [USED, ALL_KINDS, LONG], ids=["plain", "all", "long"])
@pytest.mark.parametrize("vendor", ["anthropic", "openai", "google", "aws", "azure", "deepseek", "mistral", "x-ai"])
def test_costs_are_those_that_the_package_finds(vendor: str, used: Usage) -> None:
    models = [model.id for known in vendors if known.id == vendor for model in known.models]
    compared = 0
    for model in models:
        found = cost("http://127.0.0.1", model, used, vendor=vendor)
        try:
            expected = published(vendor, model, used)
        except (ValueError, LookupError):
            continue  # the package asks for counts that no dialect has, such as seconds of audio
        if found is not None:
            compared += 1
            assert found == pytest.approx(expected, abs=2e-9), model
    assert compared > len(models) / 2


@pytest.mark.parametrize(
    ("base_url", "vendor", "model"),
    [
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "aws", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "google", "claude-sonnet-4-5@20250929"),
        ("https://aiplatform.googleapis.com/v1", "google", "gemini-2.5-pro"),
        ("https://corp.openai.azure.com/openai/v1", "azure", "gpt-4o"),
        ("https://corp.services.ai.azure.com/anthropic", "azure", "claude-sonnet-4-5"),
        ("https://openrouter.ai/api/v1", "openrouter", "openai/gpt-4o"),
        (ANTHROPIC, "anthropic", "claude-sonnet-4-5-20250929"),
    ],
)
def test_a_vendor_is_known_by_its_address(base_url: str, vendor: str, model: str) -> None:
    found = cost(base_url, model)
    assert found == pytest.approx(published(vendor, model, USED), abs=1e-9)
    assert found


def test_nothing_is_guessed_from_the_name_of_a_model_elsewhere() -> None:
    assert cost("http://vllm.internal:8000/v1", "gpt-4o", name="openai") is None
    assert cost(OPENAI, "no-such-model") is None
    assert cost("http://vllm.internal:8000/v1", "gpt-4o", vendor="openai") == cost(OPENAI, "gpt-4o")


def test_the_model_that_answered_counts_where_the_name_that_was_asked_for_has_no_price() -> None:
    assert cost("https://corp.openai.azure.com/openai/v1", "deployment-7") is None
    found = cost("https://corp.openai.azure.com/openai/v1", "deployment-7", answered="gpt-4o-2024-08-06")
    assert found == pytest.approx(published("azure", "gpt-4o-2024-08-06", USED))
    assert cost(OPENAI, "gpt-4o", answered="gpt-4o-mini") == cost(OPENAI, "gpt-4o")


def test_overrides_come_first() -> None:
    known = Prices(
        [
            PriceOverride(model="Qwen/*", provider="far", input=1, output=1),
            PriceOverride(model="qwen*", input=0.2, output=0.6, cache_read=0.02),
            PriceOverride(model="gpt-4o", input=0, output=0),
        ]
    )
    expected = (4000 * 0.2 + 500 * 0.6 + 20_000 * 0.02) / 1e6
    assert cost("http://h", "Qwen/Qwen3-8B", ALL_KINDS, known) == pytest.approx(expected)
    assert cost("http://h", "Qwen/Qwen3-8B", USED, known, name="far") == pytest.approx(1100 / 1e6)
    assert cost(OPENAI, "gpt-4o", ALL_KINDS, known) == 0
    assert cost(OPENAI, "my-qwen", USED, known) is None


def test_prices_by_kind_explain_a_cost() -> None:
    override = PriceOverride(model="*", input=2, output=6, cache_read=0.5)
    tariff = Prices([override]).tariff(at(ANTHROPIC), "x")
    rates = tariff.rates("", 0) if tariff is not None else None
    assert rates is not None
    by_kind = {kind: round(price * 1e6, 9) for kind, price in rates.per_token(10).items()}
    assert by_kind == {"input": 2, "cache_read": 0.5, "cache_write": 2, "output": 6}


def test_a_price_changes_with_its_date() -> None:
    model = Prices().price(at("https://api.deepseek.com"), "deepseek-reasoner")
    when = datetime(2025, 5, 1, 18, tzinfo=UTC).timestamp()
    assert model.cost(USED, "", when) == pytest.approx(published("deepseek", "deepseek-reasoner", USED, when))
    later = model.cost(USED, "", NOW)
    assert later == pytest.approx(published("deepseek", "deepseek-reasoner", USED))
    assert later != model.cost(USED, "", when)


def test_costs_are_exact_as_whole_numbers() -> None:
    found = cost(OPENAI, "gpt-4o", Usage(input_tokens=7, output_tokens=3))
    assert found is not None
    assert round(found * 10**prices.DIGITS) == 7 * 2500 + 3 * 10_000


def test_a_cost_costs_little() -> None:
    price = Prices().price(at(ANTHROPIC), "claude-sonnet-5")
    price.cost(ALL_KINDS, "", NOW)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            price.cost(ALL_KINDS, "", NOW)
        times.append(time.perf_counter() - began)
    assert min(times) / 1000 < 20e-6  # 2 us where nothing else runs


def test_a_model_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Prices()
    first = cost(OPENAI, "gpt-4o", known=known)
    monkeypatch.setattr(prices, "published", lambda: pytest.fail("looked up again"))
    assert cost(OPENAI, "gpt-4o", known=known) == first


def test_without_the_package_overrides_alone_have_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    prices.published.cache_clear()
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    try:
        known = Prices([PriceOverride(model="mine", input=1, output=1)])
        assert cost(OPENAI, "gpt-4o", known=known) is None
        assert cost(OPENAI, "mine", known=known) == pytest.approx(1100 / 1e6)
    finally:
        prices.published.cache_clear()


def test_a_gateway_loads_no_prices_before_they_are_needed(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(f"{AUTHENTICATION}\n{PROVIDERS}\n{MODELS}")
    script = (
        "import sys, extproc.gateway.gateway as g, extproc.transport.worker, pathlib\n"
        "g.load(pathlib.Path(sys.argv[1]), {'OPENAI_API_KEY': 'sk-0123456789'})\n"
        "assert 'genai_prices' not in sys.modules and 'httpx2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "gateway.yaml"], check=True)


def configured(folder: Path, *, provider: str = "", more: str = "") -> list[str]:
    text = PROVIDERS.replace("api_key", f"{provider} api_key")
    return faults(folder, f"{AUTHENTICATION}\n{text}\n{MODELS}\n{more}")


@pytest.mark.parametrize(
    ("override", "where", "said"),
    [
        ("{model: m, input: -1, output: 1}", "prices.overrides.0.input", "greater than or equal to 0"),
        ("{model: m, input: 1e9, output: 1}", "prices.overrides.0.input", "less than or equal to 1000000"),
        ("{model: m, input: .nan, output: 1}", "prices.overrides.0.input", "finite"),
        ("{model: m, input: 1}", "prices.overrides.0.output", "required"),
        ("{model: m, input: 1, output: 1, provider: opnai}", "prices.overrides.0.provider", "openai"),
        ("{model: m, input: 1, output: 1, currency: EUR}", "prices.overrides.0.currency", ""),
        ('{model: "", input: 1, output: 1}', "prices.overrides.0.model", ""),
    ],
)
def test_mistakes_are_named(tmp_path: Path, override: str, where: str, said: str) -> None:
    [fault] = configured(tmp_path, more=f"prices: {{overrides: [{override}]}}")
    assert where in fault
    assert said in fault


def test_a_vendor_that_nobody_knows_is_named(tmp_path: Path) -> None:
    [fault] = configured(tmp_path, provider="prices: anthropics,")
    assert "providers.openai.prices" in fault
    assert "'anthropic'" in fault
    assert not configured(tmp_path, provider="prices: anthropic,")


def test_models_without_a_price_are_listed(tmp_path: Path) -> None:
    more = """
models:
  - {name: known, provider: openai, model: gpt-4o-mini}
  - {name: cheap, provider: openai, model: qwen3-8b}
  - {name: new, provider: openai, model: gpt-none}
  - {name: "gpt-*", provider: openai}
prices: {overrides: [{model: "qwen*", input: 0.2, output: 0.6}]}
"""
    vendor = PROVIDERS.replace("api_key", "prices: openai, api_key")
    made = gateway(tmp_path, f"{AUTHENTICATION}\n{vendor}\n{more}")
    assert [where for where, _ in prices.unpriced(made.catalogue, made.prices)] == [("models", 2)]
    made = gateway(tmp_path, f"{AUTHENTICATION}\n{PROVIDERS}\n{more}")
    assert [where for where, _ in prices.unpriced(made.catalogue, made.prices)] == [
        ("models", 0),
        ("models", 2),
        ("models", 3),
    ]
