from pathlib import Path

from extproc.providers.availability import AvailabilityUpdate
from extproc.web.console import state_pages
from tests.settings import GATEWAY, gateway

CONFIG = GATEWAY.replace(
    "api_key: {env: OPENAI_API_KEY}", "api_key: {env: OPENAI_API_KEY}, profile: {strictness: strict}"
)
CONFIG += """
translation: {strictness: strict}
managed_settings:
  - {settings: {env: {TOKEN: sk-written-here}}}
sign_in:
  public_url: "https://gw.example"
  issuer: "https://idp.example"
  client_id: x
  client_secret: {env: OPENAI_API_KEY}
console: {}
"""


def test_no_secret_is_shown(tmp_path: Path) -> None:
    made = gateway(tmp_path, CONFIG)
    rows = {row["key"]: row["value"] for table in state_pages.configuration(made) for row in table.rows}
    assert rows["providers.openai.api_key.env"] == "OPENAI_API_KEY"
    assert rows["sign_in.client_secret.env"] == "OPENAI_API_KEY"
    assert rows["managed_settings.0.settings"] == "with env"
    assert rows["translation"] == "with strictness" and rows["console"] == "with all defaults"
    assert not [value for value in rows.values() if "sk-" in value]


def test_the_state_of_a_provider(tmp_path: Path) -> None:
    made = gateway(tmp_path)
    assert state_pages.state(made.availability, "openai", 100) == "available"
    made.availability.replace(AvailabilityUpdate({"openai": 160}, []))
    assert state_pages.state(made.availability, "openai", 100) == "cooling down until 00:02:40 UTC"
    assert state_pages.state(made.availability, "openai", 161) == "available"
    made.availability.replace(AvailabilityUpdate({"openai": float("inf")}, []))
    assert state_pages.state(made.availability, "openai", 100) == "drained"


def test_providers_without_calls(tmp_path: Path) -> None:
    [row] = state_pages.providers(gateway(tmp_path), ([], []), 100).rows
    assert (row["provider"], row["calls"], row["p50"]) == ("openai", 0, None)
