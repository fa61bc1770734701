"""How the real Claude Code proves who it is: every way of its own is checked, and none goes round the check."""

import shlex
import sys

import httpx
import pytest

from tests.e2e.claude_code import NEWEST
from tests.e2e.claude_runs import STREAM_JSON, Claude
from tests.e2e.stack import Stack

SAY = ("-p", "demo: say welcome")


def test_the_token_as_api_key(claude: Claude) -> None:
    environ = claude.base(ANTHROPIC_API_KEY=claude.stack.good_token)
    run = claude.run([str(claude.binary), *SAY], environ)
    assert (run.status, run.out) == (0, "welcome\n")
    assert run.reasons() == [None]


def test_the_command_that_starts_it(claude: Claude) -> None:
    """Its helper mints the token, which goes along in both headers; the environment's credential and gateway do not."""
    ours = ["--url", claude.stack.url, "--keys", str(claude.stack.folder / "keys")]
    stale = {"ANTHROPIC_AUTH_TOKEN": "stale", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}
    run = claude.run([sys.executable, "-m", "extproc", "claude", *ours, *SAY], stale)
    assert (run.status, run.out) == (0, "welcome\n"), run.err
    assert run.reasons() == [None]
    assert "stale" not in claude.stack.printed


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
