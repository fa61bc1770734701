"""Warnings: what is no mistake, but unwise."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.cli import main
from extproc.policy.authentication import api_keys
from extproc.supervisor import advice
from tests.settings import GATEWAY, MODELS, PROVIDERS, authenticating, gateway

URL = "https://api.openai.example/v1"
TWICE = "ends in an endpoint, and {} would be added once more; probably "
SECRETS = """
authentication:
  api_keys: {file: keys.yaml}
listen: {tls: {certificate: localhost.pem, key: localhost.key}}
providers:
  openai: {dialects: [chat], base_url: "https://api.openai.example/v1", api_key: {file: provider/key}}
models: [{name: "*", provider: openai}]
"""


def warned(folder: Path, text: str) -> list[str]:
    """Without the file's name in front."""
    return [line.removeprefix(f"{folder / 'gateway.yaml'}:") for line in advice.warnings(gateway(folder, text))]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter; those of pytest are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def secrets(folder: Path) -> list[Path]:
    (folder / "provider").mkdir(mode=0o755)
    (folder / "keys.yaml").write_text(api_keys.new("nightly", {})[1])
    (folder / "provider" / "key").write_text("sk-0123456789")
    (folder / "localhost.pem").write_text("")
    (folder / "localhost.key").write_text("")
    return [folder / "keys.yaml", folder / "localhost.key", folder / "provider" / "key"]


def test_nothing_to_say(tmp_path: Path) -> None:
    assert warned(tmp_path, GATEWAY) == []


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o444])
def test_secrets_that_everybody_can_read(folder: Path, secrets: list[Path], mode: int) -> None:
    for path in secrets:
        path.chmod(mode)
    said = "every user of this machine can read {0}; take that away: chmod o= {0}"
    assert warned(folder, SECRETS) == [
        "4: listen.tls.key: " + said.format("localhost.key"),
        "3: authentication.api_keys.file: " + said.format("keys.yaml"),
        "6: providers.openai.api_key.file: " + said.format("provider/key"),
    ]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_secrets_that_are_closed_to_others(folder: Path, secrets: list[Path], mode: int) -> None:
    for path in secrets:
        path.chmod(mode)
    assert warned(folder, SECRETS) == []


def test_a_folder_that_is_closed_to_others(folder: Path, secrets: list[Path]) -> None:
    for path in secrets:
        path.chmod(0o644)
    folder.chmod(0o750)
    assert warned(folder, SECRETS) == []


@pytest.mark.parametrize("content", ["", "# nobody"])
def test_a_file_without_keys(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    text = f"{authenticating(authentication={'api_keys': {'file': 'keys.yaml'}}, jwks={'inline': {'keys': []}})}"
    refused = "there is no key in it: every credential that it is for is refused"
    assert warned(tmp_path, f"{text}\n{PROVIDERS}\n{MODELS}") == [
        f"1: authentication.api_keys: {refused}",
        f"1: authentication.jwt.0.jwks: {refused}",
    ]


TWO = """
authentication:
  jwt:
    - {issuer: a, audiences: [x], jwks: {url: "https://a.example"}}
    - {issuer: b, audiences: [x], jwks: {url: "https://b.example"}}
"""


@pytest.mark.parametrize(
    ("rule", "is_warned"),
    [('caller.id == "ann"', True), ('caller.id == "ann" && jwt.iss == "a"', False), ('jwt.team == "x"', False)],
)
def test_a_subject_of_two_issuers(tmp_path: Path, rule: str, is_warned: bool) -> None:
    text = f"{TWO}\nauthorization: {{allow: ['{rule}']}}\n{PROVIDERS}\n{MODELS}"
    expected = ["7: authorization.allow.0: two issuers may give the same caller.id; compare jwt.iss, too"]
    assert warned(tmp_path, text) == (expected if is_warned else [])


def test_one_issuer_gives_a_subject_once(tmp_path: Path) -> None:
    text = f"{authenticating()}\nauthorization: {{allow: ['caller.id == \"ann\"']}}\n{PROVIDERS}\n{MODELS}"
    assert warned(tmp_path, text) == []


def test_check_prints_them(
    folder: Path, secrets: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets[0].chmod(0o644)
    secrets[1].chmod(0o600)
    secrets[2].chmod(0o600)
    (folder / "gateway.yaml").write_text(SECRETS)
    assert main.main(["check", "--config", str(folder / "gateway.yaml")]) == 0
    said = capsys.readouterr()
    assert "no mistakes found" in said.out
    assert said.err.startswith(f"warning: {folder / 'gateway.yaml'}:3: authentication.api_keys.file: ")


@pytest.mark.parametrize(
    ("url", "dialects", "said"),
    [
        (URL, "[chat]", ""),
        ("http://127.0.0.1:8000", "[chat]", "most servers serve below /v1; probably http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "[responses]", "most servers serve below /v1; probably http://127.0.0.1:8000/v1"),
        ("https://api.anthropic.example", "[messages]", ""),
        ("https://host.example/company/openai", "[chat]", ""),
        (f"{URL}/chat/completions", "[chat]", f"{TWICE.format('/chat/completions')}{URL}"),
        ("https://a.example/v1/messages", "[messages]", f"{TWICE.format('/messages')}https://a.example/v1"),
    ],
)
def test_base_urls(tmp_path: Path, url: str, dialects: str, said: str) -> None:
    text = GATEWAY.replace(URL, url).replace("[chat]", dialects)
    assert warned(tmp_path, text) == ([f"4: providers.openai.base_url: {said}"] if said else [])


CLOUDS = """
providers:
  b: {cloud: aws-bedrock, region: us-east-1, dialects: [messages], auth: {aws: {instance: true}}}
  v: {cloud: google-vertex, project: p, location: eu, dialects: [chat], auth: {google: {metadata: true}}}
  c: {cloud: google-vertex, project: p, location: eu, dialects: [messages]}
models:
"""


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("{name: a, provider: b, model: us.anthropic.claude-sonnet-4-5-20250929-v1:0}", ""),
        ("{name: a, provider: b, model: global.anthropic.claude-sonnet-4-6}", ""),
        ("{name: a, provider: b, model: 'arn:aws:bedrock:us-east-1:111122223333:x/y'}", ""),
        ("{name: a, provider: b, model: eu.anthropic.claude-sonnet-4-6}", "eu. cannot be called from us-east-1"),
        ("{name: a, provider: b, model: anthropic.claude-sonnet-4-6}", "through an inference profile only"),
        ("{name: a, provider: b, model: claude-sonnet-4-6}", "Bedrock has no such id"),
        ("{name: 'claude-*', provider: b}", ""),
        ("{name: a, provider: v, model: gemini-3}", "probably google/gemini-3"),
        ("{name: a, provider: v, model: google/gemini-3}", ""),
        ("{name: a, provider: c, model: anthropic.claude-sonnet-4-6}", "have the form claude-sonnet-4-5@20250929"),
        ("{name: a, provider: c, model: claude-sonnet-4-5@20250929}", ""),
        (
            "{name: a, provider: b, model: us.anthropic.claude-x, overrides: {service_tier: auto}}",
            "aws-bedrock refuses this member",
        ),
    ],
)
def test_what_clouds_are_known_to_refuse(tmp_path: Path, model: str, says: str) -> None:
    found = warned(tmp_path, f"{authenticating()}{CLOUDS}  - {model}\n")
    assert found[:1] == ["5: providers.c.cloud: there is no `auth`: calls go out without a credential"]
    assert says in found[1] if says else len(found) == 1


def test_an_api_for_nothing_or_for_nobody(tmp_path: Path) -> None:
    found = warned(tmp_path, f"{GATEWAY}admin: {{}}\n")
    assert [line.partition(": ")[2] for line in found if "admin" in line] == [
        "admin: there are no `budgets`, so there is nothing to administer",
        "admin: without `allow`, nobody may use its API",
    ]
    budgets = "budgets: [{name: team, key: jwt.team, limit: {requests: 3}, per: month}]\n"
    assert not any("admin" in line for line in warned(tmp_path, f"{GATEWAY}{budgets}admin: {{allow: 'true'}}\n"))
