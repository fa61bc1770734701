"""The real Claude Code in its modes for clouds, through a real Envoy, on a Chat Completions model."""

from collections.abc import Mapping

import pytest

from tests.e2e.claude_code import NEWEST, VERSIONS
from tests.e2e.claude_runs import Claude, Run, call, script, tool_messages
from tests.e2e.stack import Json
from tests.e2e.test_claude_code_faults import OVERFLOW

Environ = Mapping[str, str]


def bedrock(claude: Claude) -> Environ:
    return {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": f"{claude.stack.url}/bedrock",
        "AWS_REGION": "eu-west-1",
        "AWS_BEARER_TOKEN_BEDROCK": claude.stack.good_token,
    }


def bedrock_without_auth(claude: Claude) -> Environ:
    rest = {name: value for name, value in bedrock(claude).items() if name != "AWS_BEARER_TOKEN_BEDROCK"}
    return {**rest, "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1", "ANTHROPIC_AUTH_TOKEN": claude.stack.good_token}


def mantle(claude: Claude) -> Environ:
    return {
        "CLAUDE_CODE_USE_MANTLE": "1",
        "ANTHROPIC_BEDROCK_MANTLE_BASE_URL": f"{claude.stack.url}/bedrock-mantle/anthropic",
        "AWS_REGION": "eu-west-1",
        "AWS_BEARER_TOKEN_BEDROCK": claude.stack.good_token,
    }


def vertex(claude: Claude) -> Environ:
    return {
        "CLAUDE_CODE_USE_VERTEX": "1",
        "ANTHROPIC_VERTEX_BASE_URL": f"{claude.stack.url}/vertex/v1",
        "ANTHROPIC_VERTEX_PROJECT_ID": "p",
        "CLOUD_ML_REGION": "europe-west1",
        "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1",
        "ANTHROPIC_AUTH_TOKEN": claude.stack.good_token,
    }


def foundry(claude: Claude) -> Environ:
    return {
        "CLAUDE_CODE_USE_FOUNDRY": "1",
        "ANTHROPIC_FOUNDRY_BASE_URL": f"{claude.stack.url}/anthropic",
        "ANTHROPIC_FOUNDRY_API_KEY": claude.stack.good_token,
    }


MODES = {
    "bedrock": (bedrock, "bedrock"),
    "bedrock without auth": (bedrock_without_auth, "bedrock"),
    "mantle": (mantle, "bedrock-mantle"),
    "vertex": (vertex, "vertex"),
    "foundry": (foundry, "messages"),
}


OLDER = [version for version in VERSIONS if version != NEWEST]


def ask(claude: Claude, mode: str, prompt: str, **environ: str) -> Run:
    command = [str(claude.binary), "--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose"]
    command += ["--include-partial-messages", "-p", prompt]
    return claude.run(command, {**MODES[mode][0](claude), **environ})


def served(run: Run) -> list[Json]:
    return [line for line in run.records if line["gen_ai.operation.name"] == "chat"]


@pytest.mark.parametrize(
    ("claude", "mode"),
    [*((NEWEST, mode) for mode in MODES), *((version, mode) for version in OLDER for mode in ("bedrock", "vertex"))],
    indirect=["claude"],
)
def test_a_tool_runs_and_its_result_goes_back(claude: Claude, mode: str) -> None:
    run = ask(claude, mode, script(call("Bash", command="echo $((6*7))"), "demo: say one two three"))
    assert (run.status, run.result["result"], run.calls()) == (0, "one two three", ["Bash"])
    with_tools = [body for body in run.bodies if body.get("tools")]
    assert [tool_messages(body) for body in with_tools] == [[], ["42"]]
    deltas = [event["event"] for event in run.events if event["type"] == "stream_event"]
    assert "".join(event["delta"].get("text", "") for event in deltas if "text" in event.get("delta", {})) == (
        "one two three"
    )
    lines = served(run)
    assert {line["endpoint"] for line in lines} == {MODES[mode][1]}
    assert {line["reason"] for line in lines} == {None}
    assert all(line["gen_ai.request.model"].startswith("claude-") for line in lines)
    assert run.result["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize("mode", ["bedrock", "vertex"])
def test_a_model_that_stays_broken_is_reported(claude: Claude, mode: str) -> None:
    prompt = "demo: fail 503 message=Down for maintenance."
    run = ask(claude, mode, prompt, CLAUDE_CODE_MAX_RETRIES="1")
    assert (run.status, run.result["is_error"]) == (1, True)
    assert "Down for maintenance." in run.result["result"]
    assert [line["reason"] for line in served(run)].count("Upstream") == 2


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize("mode", ["bedrock", "vertex"])
def test_a_stream_that_breaks_is_asked_for_again(claude: Claude, mode: str) -> None:
    run = ask(claude, mode, f"demo: break 503 times=1 message={mode}\ndemo: say all of it")
    assert (run.status, run.result["result"]) == (0, "all of it")
    assert [line["reason"] for line in served(run) if line["reason"]] == ["Upstream"]


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize("mode", ["bedrock", "vertex"])
def test_a_full_context_is_compacted_and_the_session_goes_on(claude: Claude, mode: str) -> None:
    full = f"demo: fail 400 code=context_length_exceeded times=1 message={OVERFLOW} ({mode})"
    summary = "demo: say <summary>All that happened so far.</summary>\n" + call("Bash", command="echo 2")
    run = ask(claude, mode, script(call("Bash", command="echo 1"), summary, call("Bash", command="echo 3"), full))
    assert (run.status, run.result["is_error"]) == (0, False)
    assert [event for event in run.events if event.get("subtype") == "compact_boundary"]
    assert "All that happened so far." in str(run.bodies[-1]["messages"][:3])
    assert run.result["result"] == "Tool result: 3"


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)
@pytest.mark.parametrize("mode", ["bedrock", "vertex"])
@pytest.mark.parametrize(("team", "word"), [("", "API Error: 401"), ("marketing", "API Error: 403")])
def test_a_refusal_is_told_at_once(claude: Claude, mode: str, team: str, word: str) -> None:
    name = "AWS_BEARER_TOKEN_BEDROCK" if mode == "bedrock" else "ANTHROPIC_AUTH_TOKEN"
    run = ask(claude, mode, "demo: say hi", **{name: claude.stack.token(team=team) if team else "nonsense"})
    assert (run.status, run.bodies, run.result["is_error"]) == (1, [], True)
    assert word in run.result["result"]
