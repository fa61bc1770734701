import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extproc.cli import main
from extproc.client import claude, codex, launch, oauth, session
from extproc.client.connection import ClientError
from extproc.client.launch import Target
from extproc.demo import idp
from tests.client.oauth_server import OAuthServer

ROOT = Path(launch.__file__).parents[2]
URL = "http://127.0.0.1:8080"


def sign_in(url: str) -> None:
    server = oauth.Server(url, f"{url}/oauth/token")
    session.begin(url, server, oauth.Tokens("access", "refresh", 3600), "file", time.time())


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, home: Path) -> list[Target]:
    """What the commands would start clients on, in a folder without keys."""
    found = list[Target]()
    monkeypatch.chdir(home)
    monkeypatch.setattr(codex, "run", lambda rest, target: found.append(target))
    monkeypatch.setattr(claude, "run", lambda rest, target, *, skip_preflight: found.append(target))
    return found


@pytest.mark.parametrize("client", ["claude", "codex"])
def test_a_client_starts_on_the_gateway_that_is_meant(started: list[Target], client: str, home: Path) -> None:
    sign_in("https://a.example")
    assert main.main([client]) == 0
    assert main.main([client, "--gateway", "https://A.example/", "-x"]) == 0
    idp.ensure_keys(home / "keys")
    assert main.main([client]) == 0
    assert main.main([client, "--gateway", "https://a.example"]) == 0
    stored, lab = launch.stored("https://a.example"), launch.lab(URL, Path("keys"))
    assert started == [stored, stored, lab, stored]
    assert stored.token_command[-3:] == ["--stored", "--gateway", "https://a.example"]


def test_there_is_no_gateway_to_start_on(started: list[Target], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["claude"]) == 1
    assert "not signed in to any gateway. Sign in: extproc login --gateway URL" in capsys.readouterr().err
    assert main.main(["codex", "--keys", str(home / "other")]) == 1
    assert f"no lab keys in {home / 'other'}" in capsys.readouterr().err
    assert not started and not list(home.rglob("*.pem"))


@pytest.mark.parametrize("client", ["claude", "codex"])
def test_help_is_ours_only_at_the_start(started: list[Target], client: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main([client, "--help"])
    assert "--gateway" in capsys.readouterr().out
    sign_in(URL)
    assert main.main([client, "exec", "--help"]) == 0 and len(started) == 1


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ClientError, match=f"no gateway answers at http://127.0.0.1:{port} "):
        Target(f"http://127.0.0.1:{port}", ["/bin/false"], 60).check()


def test_there_is_no_token(gateway: OAuthServer) -> None:
    target = Target(gateway.url, ["/bin/sh", "-c", "echo 'extproc: sign in again' >&2; exit 1"], 60)
    with pytest.raises(ClientError, match=r"^sign in again$"):
        target.check()


def test_the_command_prints_a_token_wherever_it_runs(tmp_path: Path, home: Path) -> None:
    """Also in a folder with a package of our name, and with names that a shell would take apart."""
    (tmp_path / "extproc").mkdir()
    (tmp_path / "extproc" / "__init__.py").write_text("raise SystemExit('a module of the working folder was run')")
    keys = tmp_path / "it's my keys"
    idp.ensure_keys(keys)
    sign_in(URL)
    for target, dots in ((launch.lab(URL, keys), 2), (launch.stored(URL), 0)):
        done = subprocess.run(
            shlex.join(target.token_command),
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.count(".") == dots and len(done.stdout.split()) == 1


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_not_installed(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClientError, match=f"{name} is not installed .* npm install -g a/b"):
        launch.find_program(name, "a/b", {"PATH": str(tmp_path)})


def test_a_client_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="does not start: No such file"):
        launch.become([str(tmp_path / "none")], {})


def test_codex_gets_it_all_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "codex").touch(0o755)
    target = Target(URL, [sys.executable, 'a "b"'], 240)
    line = codex.command(["exec", "hello"], target, {"PATH": str(tmp_path)}, window=131072)
    assert line[0] == str(tmp_path / "codex") and line[-2:] == ["exec", "hello"]
    assert set(line[1:-2:2]) == {"-c"}
    assert line[2:-2:2][-4:] == [
        f'model_providers.extproc.auth.command="{sys.executable}"',
        r'model_providers.extproc.auth.args=["a \"b\""]',
        "model_providers.extproc.auth.refresh_interval_ms=240000",
        "model_context_window=131072",
    ]


@pytest.mark.parametrize(
    ("words", "config", "model"),
    [
        (["exec", "-m", "a"], 'model = "b"', "a"),
        (["--model", "a"], "", "a"),
        (["--model=a"], "", "a"),
        (["exec", "--", "-m", "a"], 'model = "b"', "b"),
        ([], 'model = "b"', "b"),
        ([], "model = 1", None),
        ([], "[", None),
        (["-m"], 'model = "b"', None),
    ],
)
def test_the_model_of_codex(tmp_path: Path, words: list[str], config: str, model: str | None) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text(config)
    assert codex.model_of(words, {"HOME": str(tmp_path)}) == model
    assert codex.model_of(words, {"CODEX_HOME": str(tmp_path / ".codex")}) == model
    assert codex.model_of([], {"HOME": str(tmp_path / "nobody")}) is None
