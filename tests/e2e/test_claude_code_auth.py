"""How the real Claude Code proves who it is: every way of its own is checked, and none goes round the check."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from extproc.client.claude import REMOVED
from tests.e2e.claude_code import NEWEST
from tests.e2e.claude_runs import GATEWAY, STREAM_JSON, Claude, call, made, script
from tests.e2e.stack import ONE_WORKER, Json, Model, Stack, up
from tests.key_server import key_server

SAY = ("-p", "demo: say welcome")


def start(claude: Claude) -> list[str]:
    ours = ["--url", claude.stack.url, "--keys", str(claude.stack.folder / "keys")]
    return [sys.executable, "-m", "extproc", "claude", *ours]


def test_the_token_as_api_key(claude: Claude) -> None:
    environ = claude.base(ANTHROPIC_API_KEY=claude.stack.good_token)
    run = claude.run([str(claude.binary), *SAY], environ)
    assert (run.status, run.out) == (0, "welcome\n")
    assert run.reasons() == [None]


def test_the_command_that_starts_it(claude: Claude) -> None:
    """Its helper mints the token, which goes along in both headers; the environment's credential and gateway do not."""
    stale = {"ANTHROPIC_AUTH_TOKEN": "stale", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}
    run = claude.run([*start(claude), *SAY], stale)
    assert (run.status, run.out) == (0, "welcome\n"), run.err
    assert run.reasons() == [None]
    assert "stale" not in claude.stack.printed


CLOUDS = [name for name in REMOVED if name.startswith("CLAUDE_CODE_USE_")]


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize("variable", CLOUDS)
def test_no_variable_leads_past_the_gateway(claude: Claude, variable: str) -> None:
    run = claude.run([*start(claude), *SAY], {variable: "1"})
    assert (run.status, run.out) == (0, "welcome\n"), run.err
    assert run.reasons() == [None]


@pytest.mark.parametrize("place", [".claude", "elsewhere"])
def test_a_sign_in_to_another_gateway_is_seen(claude: Claude, place: str) -> None:
    """With it Claude Code would ignore this gateway without a word."""
    folder = made(claude.home / place)
    with key_server() as other:
        (folder / ".credentials.json").write_text(json.dumps(signed_in(other.url)))
        run = claude.run([*start(claude), *SAY], {"CLAUDE_CONFIG_DIR": str(folder)} if place != ".claude" else {})
    assert (run.status, run.out) == (1, "")
    assert "signed in to another gateway" in run.err and "CLAUDE_CONFIG_DIR" in run.err
    assert run.bodies == []
    elsewhere = made(claude.folder / "own")
    run = claude.run([*start(claude), *SAY], {"CLAUDE_CONFIG_DIR": str(elsewhere)})
    assert (run.status, run.out) == (0, "welcome\n"), run.err


def signed_in(url: str) -> Json:
    """As Claude Code keeps it, for a token that is good for years."""
    tokens = {"jwt": "token", "expiresAt": 1995979997796, "tokenEndpoint": f"{url}/oauth/token"}
    gateway = {"url": url, **tokens, "idpRefreshToken": "refresh", "vouchedAtLogin": False}
    return {"gatewayTrust": {"localhost": "http-loopback"}, "enterpriseGateway": gateway}


# A mount namespace whose /etc has one folder more; the machine's own stays as it is.
WITH_MANAGED_SETTINGS = """
mount -t tmpfs tmpfs "$1" && cp -a /etc/. "$1" && mkdir -p "$1/claude-code" &&
printf '%s' "$2" > "$1/claude-code/managed-settings.json" && mount --bind "$1" /etc && shift 2 && exec "$@"
"""


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"forceLoginMethod": "gateway", "forceLoginGatewayUrl": "http://localhost:1"}, "(forceLoginMethod)"),
        ({"env": {"ANTHROPIC_BASE_URL": "http://localhost:1"}}, "sets ANTHROPIC_BASE_URL to http://localhost:1"),
    ],
)
def test_a_machine_that_is_pinned_to_another_gateway(claude: Claude, settings: Json, complaint: str) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to a mount namespace")
    private = ["unshare", "--mount", "sh", "-c", WITH_MANAGED_SETTINGS, "sh", str(made(claude.folder / "etc"))]
    environ = {"PATH": f"{claude.path()}{os.pathsep}{os.environ['PATH']}"}
    run = claude.run([*private, json.dumps(settings), *start(claude), *SAY], environ)
    assert (run.status, run.out) == (1, "") and complaint in run.err
    assert run.bodies == []


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize(("grade", "runs"), [(1, True), (90, False)])
def test_auto_mode_checks_actions(claude: Claude, grade: int, runs: bool) -> None:
    """By ordinary calls to the same model, whose grade decides."""
    file = claude.work / "precious"
    file.write_text("")
    action = call("Bash", command=f"curl -s http://127.0.0.1:1/; rm -rf precious # severity={grade}")
    words = ["--permission-mode", "auto", *STREAM_JSON, "-p", script(action, "demo: say done")]
    run = claude.run([*start(claude), *words], {})
    assert (run.status, run.result["result"]) == (0, "done"), run.err
    assert file.exists() is not runs
    checks = [body for body in run.bodies if "<severity>" in str(body["messages"][-1])]
    assert len(checks) == (1 if runs else 2)
    assert ("denied" in str(run.results())) is not runs


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
def test_the_window_of_the_model_is_the_clients(model: Model, tmp_path: Path, claude: Claude) -> None:
    """Also where it takes the name for that of another model, with a window of its own."""
    made(tmp_path / "windows")
    named = "- {name: 'claude-opus-*', provider: openai, model: gpt-4o-mini, context_window: 131072}"
    other = "- {name: qwen, provider: openai, model: gpt-4o-mini, context_window: 50000}"
    config = GATEWAY.replace("models:\n", f"models:\n  {named}\n  {other}\n")
    with up(tmp_path / "windows", environ={"MODEL_URL": model.url}, config=config, arguments=ONE_WORKER) as stack:
        asking = replace(claude, stack=stack)
        for words, window in ([], "131.1k"), (["--model", "qwen"], "50k"):
            run = asking.run([*start(asking), *words, "-p", "/context"], {})
            assert run.status == 0 and f" / {window} (" in run.out, run.err


def test_a_wrong_token_is_reported_and_no_model_asked(claude: Claude) -> None:
    run = claude.ask(
        "demo: say never",
        environ={"ANTHROPIC_AUTH_TOKEN": claude.stack.good_token[:-8] + "AAAAAAAA", "CLAUDE_CODE_MAX_RETRIES": "0"},
    )
    assert (run.status, run.result["is_error"], run.result["api_error_status"]) == (1, True, 401)
    assert run.result["result"].startswith("Failed to authenticate. API Error: 401")
    assert run.bodies == [] and set(run.reasons()) == {"JwtAuth"}


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
def test_another_team_is_told_so_at_once(claude: Claude) -> None:
    token = claude.stack.token(team="marketing")
    run = claude.ask("demo: say never", environ={"ANTHROPIC_AUTH_TOKEN": token})
    assert (run.status, run.result["api_error_status"]) == (1, 403)
    assert run.bodies == [] and run.reasons() == ["Authorization"]


def test_an_expired_token_is_renewed(claude: Claude) -> None:
    """As `extproc claude` does it: a helper, asked again when the gateway refuses what it gave."""
    tokens = [claude.stack.token(ttl=-3600), claude.stack.good_token]
    for number, token in enumerate(tokens):
        (claude.work / f"token{number}").write_text(token)
    first = shlex.quote(str(claude.work / "token0"))
    later = shlex.quote(str(claude.work / "token1"))
    helper = f"cat {first} 2>/dev/null && rm {first} || cat {later}"
    run = claude.run(
        [str(claude.binary), *STREAM_JSON, "--settings", f'{{"apiKeyHelper": "{helper}"}}', *SAY], claude.base()
    )
    assert (run.status, run.result["result"]) == (0, "welcome")
    assert run.reasons()[0] == "JwtAuth" and run.reasons()[-1] is None
    assert len(run.bodies) == 1


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_start_probes_need_no_token(claudes_stack: Stack, path: str) -> None:
    answer: httpx.Response = claudes_stack.call(method="HEAD", path=path, token=None)
    assert (answer.status_code, answer.content) == (200, b"")
    assert claudes_stack.record(answer)["gen_ai.operation.name"] == "probe"
