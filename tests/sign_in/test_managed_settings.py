"""Managed settings of one caller: which rows hold, how they merge, and what is computed."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from extproc.gateway.gateway import Gateway
from extproc.sign_in.managed_settings import Document, checksum, merged
from extproc.supervisor import advice
from tests.settings import AUTHENTICATION, PROVIDERS, faults, gateway

Json = dict[str, Any]
CLAUDE = '  anthropic: {dialects: [messages], base_url: "https://api.anthropic.example"}\n'
MODELS = """
models:
  - {name: gpt-6-astra, provider: openai, context_window: 400000}
  - {name: qwen, aliases: [claude-qwen], provider: openai, context_window: 131072}
  - {name: claude-sonnet-5, provider: anthropic}
"""
GATEWAY = f"{AUTHENTICATION}\n{PROVIDERS}{CLAUDE}{MODELS}"


def managed(*rows: Json) -> str:
    return f"{GATEWAY}\nmanaged_settings: {json.dumps(rows)}\n"


def document(gate: Gateway, claims: Json, *names: str) -> Document:
    models = [resolved for name in names if (resolved := gate.catalogue.resolve(name))]
    return gate.managed_settings.for_caller(claims, models)


def settings(folder: Path, *rows: Json, **claims: Any) -> Json:
    return document(gateway(folder, managed(*rows)), claims).settings


BASE: Json = {"settings": {"model": "a", "permissions": {"deny": ["x"], "allow": ["y"]}}}


def test_the_base_holds_for_everybody(tmp_path: Path) -> None:
    assert settings(tmp_path, BASE) == BASE["settings"]
    assert settings(tmp_path, {"when": "'x' in jwt.groups", "settings": {"model": "b"}}, groups=["y"]) == {}


def test_the_first_other_row_that_holds_is_merged_over_it(tmp_path: Path) -> None:
    rows = (
        {"when": "jwt.team == 'other'", "settings": {"model": "no"}},
        {
            "when": "'data' in jwt.groups",
            "settings": {"model": "b", "permissions": {"deny": ["z", "x"], "allow": ["w"]}},
        },
        BASE,
        {"when": "jwt.sub == 'alice'", "settings": {"model": "too late"}},
    )
    found = settings(tmp_path, *rows, groups=["data"], sub="alice")
    assert found == {"model": "b", "permissions": {"deny": ["x", "z"], "allow": ["w"]}}


def test_a_row_whose_claim_is_missing_does_not_hold(tmp_path: Path) -> None:
    assert settings(tmp_path, BASE, {"when": "jwt.team == 'x'", "settings": {"model": "b"}}) == BASE["settings"]


@pytest.mark.parametrize(
    "name", ["deny", "deniedMcpServers", "denyRead", "disabledMcpjsonServers", "blockedMarketplaces"]
)
def test_lists_of_what_is_denied_unite(name: str) -> None:
    assert merged({name: [1, 2]}, {name: [2, 3]}) == {name: [1, 2, 3]}


@pytest.mark.parametrize("name", ["allow", "availableModels", "ask"])
def test_other_lists_are_replaced(name: str) -> None:
    assert merged({name: [1, 2]}, {name: [2, 3]}) == {name: [2, 3]}


def test_neither_row_is_changed_by_merging() -> None:
    base, over = {"permissions": {"deny": ["a"]}}, {"permissions": {"deny": ["b"]}}
    merged(base, over)
    assert (base, over) == ({"permissions": {"deny": ["a"]}}, {"permissions": {"deny": ["b"]}})


def test_what_is_computed(tmp_path: Path) -> None:
    gate = gateway(tmp_path, managed({"settings": {}}))
    found = document(gate, {}, "gpt-6-astra", "qwen", "claude-qwen", "claude-sonnet-5").settings
    assert found == {
        "availableModels": ["claude-gpt-6-astra", "claude-qwen", "claude-sonnet-5"],
        "env": {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "131072", "CLAUDE_CODE_AUTO_MODE_SERVER": "0"},
    }
    assert document(gate, {}, "claude-sonnet-5").settings == {"availableModels": ["claude-sonnet-5"]}


def test_rows_outrank_what_is_computed(tmp_path: Path) -> None:
    own = {"availableModels": ["claude-x"], "env": {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": 5}}
    gate = gateway(tmp_path, managed({"settings": own}))
    found = document(gate, {}, "qwen").settings
    assert found["availableModels"] == ["claude-x"]
    assert found["env"] == {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "5", "CLAUDE_CODE_AUTO_MODE_SERVER": "0"}


def test_where_the_gateway_judges_the_client_asks_it(tmp_path: Path) -> None:
    text = managed({"settings": {}}) + "auto_mode: {rules: [{when: 'true', outcome: deny}]}\n"
    found = document(gateway(tmp_path, text), {}, "gpt-6-astra").settings
    assert "CLAUDE_CODE_AUTO_MODE_SERVER" not in found["env"]


def test_telemetry_goes_to_the_gateway(tmp_path: Path) -> None:
    text = managed({"settings": {}}) + "telemetry: {}\nsign_in: {public_url: 'https://llm.corp.example', "
    text += "issuer: 'https://idp.corp.example', client_id: x}\n"
    env = document(gateway(tmp_path, text), {}).settings["env"]
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://llm.corp.example"
    assert (env["CLAUDE_CODE_ENABLE_TELEMETRY"], env["OTEL_EXPORTER_OTLP_PROTOCOL"]) == ("1", "http/protobuf")
    assert {env[f"OTEL_{signal}_EXPORTER"] for signal in ("METRICS", "LOGS", "TRACES")} == {"otlp"}


def test_names_are_resolved_back_only_where_settings_are_managed(tmp_path: Path) -> None:
    gate = gateway(tmp_path, managed({"settings": {}}))
    found = gate.catalogue.resolve("claude-gpt-6-astra")
    assert found is not None and (found.name, found.upstream) == ("gpt-6-astra", "gpt-6-astra")
    assert gateway(tmp_path, GATEWAY).catalogue.resolve("claude-gpt-6-astra") is None


def test_a_pattern_for_claude_does_not_take_a_name_of_another_model(tmp_path: Path) -> None:
    models = 'models: [{name: "claude-*", provider: anthropic}, {name: "gpt-6-astra", provider: openai}]'
    gate = gateway(tmp_path, managed({"settings": {}}).replace(MODELS, f"\n{models}\n"))
    found = gate.catalogue.resolve("claude-gpt-6-astra")
    assert found is not None and found.provider.name == "openai"


@given(
    some.dictionaries(some.text(max_size=5), some.integers() | some.booleans() | some.text(max_size=5) | some.none())
)
def test_the_order_of_keys_does_not_matter(value: Json) -> None:
    assert checksum(value) == checksum(dict(reversed(value.items())))


def test_the_checksum_is_the_clients() -> None:
    """It is made of the text that JavaScript writes; in tests/e2e/test_managed_settings.py Claude Code computes it."""
    text = '{"a":[1,{"x":null,"y":true}],"b":"Grüße 😀"}'
    expected = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert checksum({"b": "Grüße 😀", "a": [1.0, {"y": True, "x": None}]}) == expected


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"when": "jwt.", "settings": {}}], "managed_settings.0.when: not a valid CEL expression"),
        ([{"when": "model == 'x'", "settings": {}}], "managed_settings.0.when: only `jwt`"),
        ([{"settings": {"model": 1}}], "managed_settings.0.settings.model: expected a text"),
        (
            [{"settings": {"permissions": {"deny": "x"}}}],
            "managed_settings.0.settings.permissions.deny: expected a list",
        ),
        ([{"settings": {}}, {"settings": {}}], "managed_settings.1.when: another row holds for everybody, too"),
        ([{"when": "true"}], "managed_settings.0.settings: this key is required"),
    ],
)
def test_a_mistake_is_found_by_check(tmp_path: Path, rows: list[Json], fault: str) -> None:
    found = faults(tmp_path, managed(*rows))
    assert any(fault in one for one in found), found


def test_check_says_what_claude_code_may_not_know_and_what_cannot_be_listed(tmp_path: Path) -> None:
    text = managed({"settings": {"availableModel": 1}}) + "x"
    text = text[:-1].replace("models:\n", "models:\n  - {name: 'x-*', provider: openai}\n", 1)
    warnings = "\n".join(advice.warnings(gateway(tmp_path, text)))
    assert "managed_settings.0.settings.availableModel: is no setting that Claude Code 2.1.332 knows" in warnings
    assert "models.0.name: managed settings cannot list what `*` stands for" in warnings


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "managed-settings.md").read_text("utf-8")


def test_the_example_of_the_page(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(managed_settings:.*?)```", PAGE, re.DOTALL)
    gate = gateway(tmp_path, f"{GATEWAY}\n{example}")
    assert gate.managed_settings.unknown == []
    found = document(gate, {"groups": ["data", "contractors"]}).settings
    assert (found["model"], found["permissions"]["deny"]) == ("claude-sonnet-5", ["WebSearch", "Bash(git push *)"])
