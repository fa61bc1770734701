import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.cli import main
from extproc.client import claude, launch
from extproc.client.connection import ClientError
from extproc.demo import idp
from tests.key_server import Answer, KeyServer, key_server

URL = "http://127.0.0.1:8080"
TARGET = launch.Target(URL, ["/bin/a token", "--stored"], 240)
ROOT = Path(launch.__file__).parents[2]
OLD = dict.fromkeys(claude.REMOVED, "old") | {"OTHER": "kept"}
FAKE = f"""#!{sys.executable}
import json, os, sys
asked = sys.argv[-2:] == ["auth", "status"]
print(os.environ["STATUS"] if asked else json.dumps([sys.argv[1:], dict(os.environ)]))
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "claude").write_text(FAKE)
    (folder / "claude").chmod(0o755)
    return {**OLD, "PATH": str(folder)}


@pytest.fixture
def server() -> Iterator[KeyServer]:
    """The gateway's place, with answers of the test's own."""
    with key_server() as running:
        yield running


def settings_of(argv: list[str]) -> dict[str, Any]:
    assert argv[1] == "--settings"
    settings: dict[str, Any] = json.loads(argv[2])
    return settings


def test_command(environ: dict[str, str]) -> None:
    argv, env = claude.command(["-p", "hello", "--", "--settings"], TARGET, environ)
    assert argv[0] == f"{environ['PATH']}/claude"
    assert argv[3:] == ["-p", "hello", "--", "--settings"]
    assert env == {
        "PATH": environ["PATH"],
        "OTHER": "kept",
        "ANTHROPIC_BASE_URL": URL,
        "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "240000",
        "CLAUDE_CODE_AUTO_MODE_SERVER": "0",
    }
    settings = settings_of(argv)
    assert settings["env"]["ANTHROPIC_BASE_URL"] == URL
    assert [settings["env"][name] for name in claude.REMOVED] == [""] * len(claude.REMOVED)
    assert shlex.split(settings["apiKeyHelper"]) == TARGET.token_command


def test_the_users_settings_are_kept(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        '{"model": "opus", "env": {"A": "1", "ANTHROPIC_BASE_URL": "http://elsewhere"}, "apiKeyHelper": "x"}'
    )
    for given in (["--settings", str(file)], [f"--settings={file}"], ["--settings", file.read_text()]):
        argv, _ = claude.command([*given, "-c"], TARGET, environ)
        assert argv[3:] == ["-c"]
        settings = settings_of(argv)
        assert settings["model"] == "opus"
        assert (settings["env"]["A"], settings["env"]["ANTHROPIC_BASE_URL"]) == ("1", URL)
        assert settings["apiKeyHelper"] != "x"


@pytest.mark.parametrize("given", ["missing.json", "{", "{]", '{"env": 1}'])
def test_unusable_settings(given: str, environ: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="--settings"):
        claude.command(["--settings", given], TARGET, environ)


def test_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="npm install -g @anthropic-ai/claude-code"):
        claude.run([], TARGET, {"PATH": str(tmp_path)})


def test_what_the_user_has_chosen_stays(environ: dict[str, str]) -> None:
    chosen = {"CLAUDE_CODE_AUTO_MODE_SERVER": "1", "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "9"}
    _, env = claude.command([], TARGET, environ | chosen, defaults=dict.fromkeys([*chosen, "NEW"], "x"))
    assert env.items() >= (chosen | {"NEW": "x"}).items()


def test_the_check_of_domains_is_skipped_where_that_is_wanted(environ: dict[str, str]) -> None:
    argv, _ = claude.command([], TARGET, environ, skip_preflight=True)
    assert settings_of(argv)["skipWebFetchPreflight"] is True
    argv, _ = claude.command([], TARGET, environ)
    assert "skipWebFetchPreflight" not in settings_of(argv)


@pytest.mark.parametrize(
    ("words", "variables", "model"),
    [
        ([], {}, claude.DEFAULT_MODEL),
        (["--model", "claude-qwen"], {"ANTHROPIC_MODEL": "other"}, "claude-qwen"),
        (["--model=claude-qwen[1m]"], {}, "claude-qwen"),
        ([], {"ANTHROPIC_MODEL": "claude-qwen"}, "claude-qwen"),
        (["--settings", '{"model": "claude-qwen"}'], {}, "claude-qwen"),
        (["--model", "haiku"], {}, "claude-haiku-5-5"),
        (["--model", "haiku"], {"ANTHROPIC_DEFAULT_HAIKU_MODEL": "small"}, "small"),
        (["--", "--model", "claude-qwen"], {}, claude.DEFAULT_MODEL),
        (["--model", "default"], {}, claude.DEFAULT_MODEL),
    ],
)
def test_the_model_that_is_asked_for_first(words: list[str], variables: dict[str, str], model: str) -> None:
    assert claude.model_of(words, variables) == model


OURS = '{"apiProvider": "firstParty", "authMethod": "api_key_helper"}'


def run_fake(environ: dict[str, str], keys: Path, status: str, url: str) -> subprocess.CompletedProcess[str]:
    idp.ensure_keys(keys)
    command = [sys.executable, "-m", "extproc", "claude", "--url", url, "--keys", str(keys), "-p", "a b"]
    variables = {**environ, "PYTHONPATH": str(ROOT), "STATUS": status}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("status", "complaint"), [(OURS, ""), ("unknown command", "cannot tell whether")])
def test_run_becomes_claude(
    environ: dict[str, str], tmp_path: Path, server: KeyServer, status: str, complaint: str
) -> None:
    server.serve_json(f"/v1/models/{claude.DEFAULT_MODEL}", {"max_input_tokens": 131072})
    done = run_fake(environ, tmp_path, status, server.url)
    argv, env = json.loads(done.stdout)
    assert argv[2:] == ["-p", "a b"]
    assert env["ANTHROPIC_BASE_URL"] == server.url
    assert [env[name] for name in claude.WINDOWS] == ["131072"] * 2
    assert "ANTHROPIC_API_KEY" not in env
    assert complaint in done.stderr and bool(complaint) == bool(done.stderr)


@pytest.mark.parametrize(
    "answer", [Answer(status=404), Answer(b"[]"), Answer(b"<"), Answer(b'{"max_input_tokens": 0}')]
)
def test_a_model_without_a_window(environ: dict[str, str], tmp_path: Path, server: KeyServer, answer: Answer) -> None:
    server.answers[f"/v1/models/{claude.DEFAULT_MODEL}"] = answer
    _, env = json.loads(run_fake(environ, tmp_path, OURS, server.url).stdout)
    assert not set(claude.WINDOWS) & set(env)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"error": {}}, "0"),
        ({"settings": []}, "0"),
        ({"settings": {"model": "claude-qwen"}}, None),
        ({"settings": {"env": {"CLAUDE_CODE_AUTO_MODE_SERVER": "0"}}}, "0"),
        ({"settings": {"env": {"CLAUDE_CODE_AUTO_MODE_SERVER": "1"}}}, "1"),
    ],
)
def test_the_gateway_says_whether_it_judges_calls_of_tools(
    environ: dict[str, str], tmp_path: Path, server: KeyServer, answer: Any, value: str | None
) -> None:
    server.serve_json("/managed/settings", answer)
    _, env = json.loads(run_fake(environ, tmp_path, OURS, server.url).stdout)
    assert env.get("CLAUDE_CODE_AUTO_MODE_SERVER") == value


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        ('{"apiProvider": "gateway", "loggedIn": true}', "is signed in to another gateway"),
        ('{"apiProvider": "gateway", "loggedIn": false, "forcedLoginMethod": "gateway"}', "managed settings"),
        ('{"apiProvider": "mantle"}', "would talk to mantle"),
    ],
)
def test_it_does_not_start_where_it_would_talk_to_somebody_else(
    environ: dict[str, str], tmp_path: Path, server: KeyServer, status: str, complaint: str
) -> None:
    done = run_fake(environ, tmp_path, status, server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr


def test_it_does_not_start_where_the_machine_sets_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude, "MANAGED_FOLDERS", (tmp_path,))
    (tmp_path / "managed-settings.json").write_text("{")
    (tmp_path / "managed-settings.d").mkdir()
    managed = tmp_path / "managed-settings.d" / "gateway.json"
    managed.write_text('{"env": {"ANTHROPIC_BASE_URL": "http://elsewhere"}}')
    with pytest.raises(ClientError, match=r"gateway\.json sets ANTHROPIC_BASE_URL to http://elsewhere"):
        claude.check_destination(["/bin/false", "--settings", "{}"], {}, URL)
    managed.write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": URL + "/"}}))
    assert not claude.check_destination(["/bin/false", "--settings", "{}"], {}, URL)


@pytest.mark.parametrize(
    ("ours", "skips"),
    [
        (["--url", URL, "--keys", "k"], False),
        ([f"--url={URL}", "--keys=k"], False),
        (["--skip-web-fetch-preflight", f"--url={URL}", "--keys", "k"], True),
    ],
)
def test_options_of_our_own_come_first(
    ours: list[str], skips: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[object] = []

    def run(rest: list[str], target: launch.Target, *, skip_preflight: bool) -> int:
        seen.append((rest, target, skip_preflight))
        return 0

    monkeypatch.chdir(tmp_path)
    idp.ensure_keys(tmp_path / "k")
    monkeypatch.setattr(claude, "run", run)
    assert main.main(["claude", *ours, "-p", "--url", "claude"]) == 0
    assert seen == [(["-p", "--url", "claude"], launch.lab(URL, Path("k")), skips)]
