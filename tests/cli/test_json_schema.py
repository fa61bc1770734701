"""The JSON Schema accepts what `check` accepts, and finds what it can of the rest."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from extproc.cli.json_schema import FILE, json_schema, text
from extproc.cli.main import main
from extproc.config import init, loading
from extproc.config.schema import Config
from tests import configuration_page
from tests.manifests import FILES, ROOT, documents

SHIPPED = [ROOT / "gateway.yaml", *sorted(ROOT.glob("deploy/*/gateway.yaml")), *sorted(ROOT.glob("examples/*.yaml"))]
MARK = "# yaml-language-server: $schema="
MADE = json_schema()
WRITTEN = MADE
SCHEMA = jsonschema.Draft202012Validator(WRITTEN)
SMALLEST = """
authentication: {}
providers: {local: {dialects: [chat], base_url: "http://127.0.0.1:8000/v1"}}
"""


def faults(written: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in SCHEMA.iter_errors(yaml.safe_load(written))]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(MADE)
    assert set(MADE["properties"]) == set(Config.model_fields)


def test_the_files_are_made_from_the_code() -> None:
    assert configuration_page.SCHEMA.read_text("utf-8") == text(), "run: python -m tests.write_docs"
    page = configuration_page.PAGE.read_text("utf-8")
    assert page == configuration_page.written(page), "run: python -m tests.write_docs"


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(text())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_files_name_it_and_follow_it(path: Path) -> None:
    written = path.read_text("utf-8")
    assert faults(written) == []
    first = written.splitlines()[0]
    assert first.startswith(MARK) and (path.parent / first.removeprefix(MARK)).resolve() == ROOT / FILE


@pytest.mark.parametrize("file", FILES)
def test_configurations_for_kubernetes_follow_it(file: str) -> None:
    found = [one["data"]["gateway.yaml"] for one in documents(file) if "gateway.yaml" in one.get("data", {})]
    assert found and [faults(one) for one in found] == [[]] * len(found)


@pytest.mark.parametrize("name", init.KINDS)
def test_what_init_writes_follows_it(tmp_path: Path, name: str) -> None:
    assert main(["init", "--provider", name, "--config", str(tmp_path / "gateway.yaml")]) == 0
    written = (tmp_path / "gateway.yaml").read_text("utf-8")
    assert written.startswith(f"{MARK}{FILE}\n") and faults(written) == []
    assert json.loads((tmp_path / FILE).read_text("utf-8")) == json.loads(text())


ACCEPTED = [
    "listen: {port: '${PORT:-8080}'}",
    "providers: {a: {dialects: [chat], base_url: 'http://a', retries: off}}",
    "providers: {a: {dialects: [chat], base_url: 'http://a', retries: 'off'}}",
    "providers: {a: {dialects: [chat], base_url: 'http://a', profile: vllm}}",
    "providers: {a: {dialects: [chat], base_url: 'http://a', profile: {base: vllm, structured_output: false}}}",
    "providers: {a: {dialects: [messages], cloud: aws-bedrock, region: eu-central-1, auth: {aws: {instance: true}}}}",
    "providers: {a: {dialects: [chat], cloud: azure-openai, base_url: 'https://a', auth: {azure: {key: {env: K}}}}}",
    "authorization: {allow: 'true', deny: ['false']}",
    "authentication: {locations: [authorization, {header: x-token}, {cookie: session}]}",
    "translation: {strictness: strict}",
    "models: [{name: m, provider: local, defaults: {temperature: 1, anything: {at: all}}}]",
]


@pytest.mark.parametrize("part", ACCEPTED)
def test_what_check_accepts(tmp_path: Path, part: str) -> None:
    given = yaml.safe_load(SMALLEST) | yaml.safe_load(part)
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(given))
    loading.load(path, {})
    assert faults(path.read_text()) == []


REFUSED: dict[str, str] = {
    "listne: {}": "listne",
    "listen: {port: 70000}": "$.listen.port",
    "authentication: {mode: lax}": "$.authentication.mode",
    "providers: {a: {dialects: [chat]}}": "base_url",
    "providers: {a: {dialects: [chat], base_url: 'http://a', api_key: sk-1}}": "$.providers.a.api_key",
    "providers: {a: {dialects: [chat], base_url: 'http://a', profile: vlm}}": "$.providers.a.profile",
    "providers: {a: {dialects: [chat], base_url: 'http://a', profile: {bas: vllm}}}": "$.providers.a.profile",
    "translation: {strictnes: strict}": "strictnes",
    "limits: {body: {seconds: 4}}": "$.limits.body.seconds",
}


@pytest.mark.parametrize("part", REFUSED)
def test_what_an_editor_marks(part: str) -> None:
    found = faults(yaml.safe_dump(yaml.safe_load(SMALLEST) | yaml.safe_load(part)))
    assert len(found) == 1 and REFUSED[part] in found[0]


def test_every_key_says_what_it_means() -> None:
    """A key's meaning is the string below its field."""
    for name, section in {"": MADE, **MADE["$defs"]}.items():
        silent = [key for key, one in section.get("properties", {}).items() if not one.get("description")]
        assert not silent, f"{name}: {silent}"
