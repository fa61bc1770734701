import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extproc import claude, cli
from extproc.demo import idp

URL = "http://127.0.0.1:8080"
OLD = {"ANTHROPIC_API_KEY": "old", "ANTHROPIC_AUTH_TOKEN": "old", "CLAUDE_CODE_USE_BEDROCK": "1", "OTHER": "kept"}
FAKE = f"""#!{sys.executable}
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]))
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "claude").write_text(FAKE)
    (folder / "claude").chmod(0o755)
    return {**OLD, "PATH": str(folder)}


def settings_of(argv: list[str]) -> dict[str, Any]:
    assert argv[1] == "--settings"
    settings: dict[str, Any] = json.loads(argv[2])
    return settings


def test_command(environ: dict[str, str], tmp_path: Path) -> None:
    argv, env = claude.command(["-p", "hello", "--", "--settings"], URL, tmp_path / "my keys", environ)
    assert argv[0] == f"{environ['PATH']}/claude"
    assert argv[3:] == ["-p", "hello", "--", "--settings"]
    assert env == {
        "PATH": environ["PATH"],
        "OTHER": "kept",
        "ANTHROPIC_BASE_URL": URL,
        "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1800000",
    }
    settings = settings_of(argv)
    assert settings["env"]["ANTHROPIC_BASE_URL"] == URL
    assert settings["env"]["ANTHROPIC_API_KEY"] == ""
    words = shlex.split(settings["apiKeyHelper"])
    assert words == [
        sys.executable,
        "-P",
        "-m",
        "extproc",
        "token",
        "--keys",
        str(tmp_path / "my keys"),
        "--ttl",
        "3600",
    ]


def test_the_helper_prints_a_token_wherever_it_runs(tmp_path: Path) -> None:
    (tmp_path / "extproc").mkdir()
    (tmp_path / "extproc" / "__init__.py").write_text("raise SystemExit('a module of the working folder was run')")
    root = str(Path(claude.__file__).parents[1])
    line = claude.helper(tmp_path / "it's my keys")
    done = subprocess.run(
        line,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count(".") == 2
    assert (tmp_path / "it's my keys" / "private.pem").exists()


def test_the_users_settings_are_kept(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        '{"model": "opus", "env": {"A": "1", "ANTHROPIC_BASE_URL": "http://elsewhere"}, "apiKeyHelper": "x"}'
    )
    for given in (["--settings", str(file)], [f"--settings={file}"], ["--settings", file.read_text()]):
        argv, _ = claude.command([*given, "-c"], URL, tmp_path, environ)
        assert argv[3:] == ["-c"]
        settings = settings_of(argv)
        assert settings["model"] == "opus"
        assert (settings["env"]["A"], settings["env"]["ANTHROPIC_BASE_URL"]) == ("1", URL)
        assert settings["apiKeyHelper"] != "x"


@pytest.mark.parametrize("given", ["missing.json", "{", "{]", '{"env": 1}'])
def test_unusable_settings(given: str, environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(claude.ClaudeError, match="--settings"):
        claude.command(["--settings", given], URL, tmp_path, environ)


def test_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert claude.run([], URL, tmp_path, {"PATH": str(tmp_path)}) == 1
    assert "npm install -g @anthropic-ai/claude-code" in capsys.readouterr().err


def test_no_keys(environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert claude.run([], URL, tmp_path, environ) == 1
    assert f"no lab keys in {tmp_path}" in capsys.readouterr().err
    assert list(tmp_path.glob("*.pem")) == []


def test_no_gateway(environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idp.ensure_keys(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert claude.run([], f"http://127.0.0.1:{port}", tmp_path, environ) == 1
    assert f"no gateway listens at http://127.0.0.1:{port}" in capsys.readouterr().err


def test_run_becomes_claude(environ: dict[str, str], tmp_path: Path) -> None:
    idp.ensure_keys(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        call = f"claude.run(['-p', 'a b'], {url!r}, Path({str(tmp_path)!r}))"
        code = f"from extproc import claude; from pathlib import Path; {call}"
        root = str(Path(claude.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        )
    argv, env = json.loads(done.stdout)
    assert argv[2:] == ["-p", "a b"]
    assert env["ANTHROPIC_BASE_URL"] == url
    assert "ANTHROPIC_API_KEY" not in env


@pytest.mark.parametrize("ours", [["--url", URL, "--keys", "k"], [f"--url={URL}", "--keys=k"]])
def test_options_of_our_own_come_first(ours: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def run(*given: object) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr(claude, "run", run)
    assert cli.main(["claude", *ours, "-p", "--url", "claude"]) == 0
    assert seen == [(["-p", "--url", "claude"], URL, Path("k"))]
