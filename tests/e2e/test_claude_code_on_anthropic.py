"""The real Claude Code before a Claude: messages are served untouched, whatever else it asks passes through."""

import json
from pathlib import Path

import pytest

from tests.e2e import shapes
from tests.e2e.claude_code import NEWEST, VERSIONS, install
from tests.e2e.claude_runs import Claude, Run, call, script
from tests.e2e.providers import ANTHROPIC_KEY, Providers, headers_of
from tests.e2e.stack import Json, Stack

OPUS = "claude-opus-5"


class OnAnthropic(Claude):
    def check(self, request: Json) -> None:
        """The provider's credential and no other, and a record of who asked for what."""
        shapes.note(request)
        headers = headers_of(request)
        assert headers["x-api-key"] == ANTHROPIC_KEY and "authorization" not in headers
        assert self.stack.good_token not in json.dumps(request) and ANTHROPIC_KEY not in self.stack.printed
        line = self.stack.record_where(lambda line: line["x-request-id"] == headers["x-request-id"])
        assert (line["jwt.sub"], line["jwt.iss"]) == ("developer@acme.example", "claude-code-lab")
        assert line["http.path"] == request["path"].partition("?")[0]
        if line["endpoint"] == "messages":
            check_message(json.loads(request["body"]), headers, line)


def check_message(body: Json, headers: dict[str, str], line: Json) -> None:
    assert line["gen_ai.request.model"] == line["gen_ai.upstream.model"] == body["model"]
    assert headers["anthropic-version"] == "2023-06-01" and "claude-code-" in headers["anthropic-beta"]
    assert (line["reason"], line["http.status"], line["warnings"]) == (None, 200, None)
    assert line["gen_ai.usage.input_tokens"] > 0 and line["gen_ai.usage.output_tokens"] > 0
    assert line["gen_ai.response.model"] == body["model"] and line["gen_ai.server.time_to_first_token"] > 0


@pytest.fixture(params=VERSIONS)
def claude(request: pytest.FixtureRequest, passing: Stack, providers: Providers, tmp_path: Path) -> OnAnthropic:
    return OnAnthropic(request.param, install()[request.param], passing, providers.anthropic, tmp_path)


def ask(claude: Claude, prompt: str, **environ: str) -> Run:
    return claude.ask(prompt, environ={"ANTHROPIC_MODEL": OPUS, **environ})


def served(run: Run) -> list[Json]:
    return [line for line in run.records if line["endpoint"] == "messages"]


def test_a_plain_prompt(claude: OnAnthropic) -> None:
    run = ask(claude, "demo: say bonjour")
    assert (run.status, run.result["result"]) == (0, "bonjour")
    [line] = served(run)
    assert (line["gen_ai.response.model"], line["gen_ai.response.finish_reasons"]) == (OPUS, "end_turn")
    for way in ("input_tokens", "output_tokens"):
        assert run.result["usage"][way] == line[f"gen_ai.usage.{way}"]


def test_a_tool_runs_and_its_result_goes_back(claude: OnAnthropic) -> None:
    run = ask(claude, script("demo: say Let me see.\n" + call("Bash", command="echo $((6*7))"), "demo: say done"))
    assert (run.status, run.result["result"], run.calls()) == (0, "done", ["Bash"])
    results = [block for message in run.bodies[-1]["messages"] for block in blocks(message, "tool_result")]
    assert [block["content"] for block in results] == ["42"]
    assert [line["gen_ai.response.finish_reasons"] for line in served(run)] == ["tool_use", "end_turn"]


def test_thinking_goes_back_with_its_signature(claude: OnAnthropic) -> None:
    """The model refuses a thought whose signature does not fit."""
    first = "demo: think First I count.\n" + call("Bash", command="echo 1")
    run = ask(claude, script(first, "demo: think Now I know.\ndemo: say one"), MAX_THINKING_TOKENS="2000")
    assert run.result["result"] == "one"
    thoughts = [block for message in run.bodies[-1]["messages"] for block in blocks(message, "thinking")]
    assert len(thoughts) == 1 and thoughts[0]["signature"]
    shown = [block["signature"] for block in run.blocks("assistant") if block["type"] == "thinking"]
    assert len(shown) == 2 and shown[0] == thoughts[0]["signature"]


def test_the_provider_counts(claude: OnAnthropic) -> None:
    run = ask(claude, "/context")
    assert run.status == 0 and "Context Usage" in run.result["result"]
    counts = [line for line in run.records if line["endpoint"] == "count_tokens"]
    assert len(counts) > 5 and {line["http.status"] for line in counts} == {200}
    assert min(line["gen_ai.usage.input_tokens"] for line in counts) > 0


@pytest.mark.parametrize("claude", [NEWEST], indirect=True)  # the older one does not ask when it runs a prompt
def test_what_else_it_asks_passes_through(claude: OnAnthropic) -> None:
    asked = claude.model.asked()
    run = ask(claude, "demo: say bonjour", CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY="1")
    assert run.result["result"] == "bonjour"
    received = [(request["method"], request["path"]) for request in claude.model.since(asked)]
    assert received.count(("GET", "/v1/models?limit=1000")) == 1
    [line] = [line for line in run.records if line["endpoint"] == "passthrough"]
    assert (line["http.path"], line["http.status"], line["gen_ai.provider.name"]) == ("/v1/models", 200, "anthropic")


def blocks(message: Json, kind: str) -> list[Json]:
    content = message["content"]
    return [block for block in content if block["type"] == kind] if isinstance(content, list) else []
