"""What README and docs/ say of the configuration is what the code does."""

import json
import plistlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from extproc.cli import developer
from extproc.cli.main import main, parser
from extproc.client import claude, launch
from extproc.config import loading
from extproc.config.schema import Config
from extproc.config.schema_sign_in import SignIn
from extproc.gateway.gateway import Gateway
from tests.certificates import certificate
from tests.issuing import jwk
from tests.settings import AUTHENTICATION, ENVIRON, MODELS, PROVIDERS, gateway

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "authentication.md").read_text()
SIGN_IN = (ROOT / "docs" / "sign-in.md").read_text()
CLIENTS = (ROOT / "docs" / "clients.md").read_text()
ROLLOUT = (ROOT / "docs" / "rollout.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Parts of a gateway.yaml, by the page and the first line.
PARTS = [
    pytest.param(block, id=f"{page.name}: {block.strip().splitlines()[0]}")
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    if isinstance(read := yaml.safe_load(block), dict) and read.keys() <= Config.model_fields.keys()
]
EXAMPLES = re.findall(r"```yaml\n((?:authentication|listen):.*?)```", TEXT, re.DOTALL)


class _Words(yaml.SafeLoader):
    """Takes the key `on` for a word, as the gateway does; YAML 1.1 takes it for true."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in its base
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_a_configuration_has_the_form_of_one(tmp_path: Path, part: str) -> None:
    shown = yaml.load(part, Loader=_Words)
    rest = yaml.safe_load(f"{AUTHENTICATION}\n{PROVIDERS}")
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump({**rest, **shown}))
    loading.load(tmp_path / "gateway.yaml", ENVIRON)


def test_there_are_such_parts() -> None:
    pages = {str(one.id).partition(":")[0] for one in PARTS}
    assert {"README.md", "configuration.md", "models.md", "examples.md", "quickstart.md"} <= pages


def test_the_readme_is_a_short_story() -> None:
    assert len((ROOT / "README.md").read_bytes()) < 14 * 1024


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_authentication(tmp_path: Path, example: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/batch.json").write_text(json.dumps({"keys": [jwk("OKP")]}))
    (tmp_path / "keys/api-keys.yaml").write_text("[]")
    certificate(tmp_path, "idp.example.com")
    (tmp_path / "ca.pem").rename(tmp_path / "keys/company-ca.pem")
    (tmp_path / "gateway.yaml").write_text(f"{example}\n{PROVIDERS}\n{MODELS}")
    Gateway(loading.load(tmp_path / "gateway.yaml", ENVIRON), ENVIRON)


def test_every_code_of_a_refusal_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z]+_\w+)` \| (?:401|503) \|", TEXT, re.MULTILINE))
    policy = ROOT / "extproc" / "policy" / "authentication"
    source = "".join(path.read_text() for path in policy.glob("*.py"))
    # A code is two words or more; `return "..."` and `raise Unproven("...")` give them.
    given = re.findall(r'(?:Unproven\(|return |credential", |else |UNAVAILABLE = )"([a-z]+(?:_[a-z]+)+)"', source)
    assert explained == set(given)


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(sign_in:.*?)```", SIGN_IN + ROLLOUT, re.DOTALL))
def test_examples_of_the_sign_in(tmp_path: Path, example: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "oidc").write_text("secret")
    assert gateway(tmp_path, f"{AUTHENTICATION}\n{PROVIDERS}\n{MODELS}\n{example}", ENVIRON).sign_in is not None


def test_defaults_of_the_sign_in_are_those_of_the_code() -> None:
    shown = dict(re.findall(r"^\| `sign_in\.(\w+)` \| (?:`?(\d+|\[.*?\])`?) \|", SIGN_IN, re.MULTILINE))
    fields = {name: field.default for name, field in SignIn.model_fields.items()}
    assert len(shown) >= 4
    for name, value in shown.items():
        assert str(fields[name]).replace("'", "") == value


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(providers:.*?)```", CLIENTS, re.DOTALL))
def test_examples_for_clients(tmp_path: Path, example: str) -> None:
    gateway(tmp_path, f"{AUTHENTICATION}\n{example}", ENVIRON)


def test_settings_for_claude_code_are_those_that_the_command_sets(tmp_path: Path) -> None:
    [example] = re.findall(r"```json\n(.*?)```", CLIENTS, re.DOTALL)
    shown = json.loads(example)
    environ = {"PATH": str(tmp_path)}
    (tmp_path / "claude").touch(0o755)
    target = launch.stored("https://llm.example.com")
    defaults = claude.AUTO_MODE | dict.fromkeys(claude.WINDOWS, "131072")
    line, env = claude.command([], target, environ, defaults=defaults, skip_preflight=True)
    assert env.items() >= shown["env"].items()
    assert json.loads(line[2]).keys() >= shown.keys()


def test_files_of_the_rollout() -> None:
    """One JSON pins Claude Code to the gateway, the other is a helper; Codex's and the profile are whole."""
    pin, helper = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", ROLLOUT, re.DOTALL))
    assert pin == {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": "https://llm.corp.example"}
    assert helper["apiKeyHelper"].startswith("extproc token --stored ")
    [codex] = (tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", ROLLOUT, re.DOTALL))
    auth = codex["model_providers"][codex["model_provider"]]["auth"]
    assert shlex.split(helper["apiKeyHelper"]) == [auth["command"], *auth["args"]]
    [profile] = re.findall(r"```xml\n(.*?)```", ROLLOUT, re.DOTALL)
    payload = plistlib.loads(f"<plist version='1.0'>{profile}</plist>".encode())
    assert payload.items() >= pin.items() and payload["PayloadType"] == "com.anthropic.claudecode"
    assert ROLLOUT.count(json.dumps(pin)) == 2, "Ansible and PowerShell say the same"


COMMANDS = [
    line.strip()
    for page in (CLIENTS, ROLLOUT)
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in re.findall(r"(?:^|\$\()(extproc [^)#\n]*)", block, re.MULTILINE)
]


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_commands_of_the_pages(line: str) -> None:
    words = shlex.split(line)[1:]
    parser().parse_args(words[: developer.own_words(words)])


def test_every_command_is_in_the_quickstart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.findall(r"^    ([a-z-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE))
    page = (ROOT / "docs" / "quickstart.md").read_text("utf-8").partition("## Commands")[2]
    assert len(commands) > 10
    assert not {name for name in commands if f"extproc {name}" not in page and f"`{name}`" not in page}
