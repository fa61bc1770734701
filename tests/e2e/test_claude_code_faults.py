"""What the real Claude Code makes of a model that fails: it waits, asks again, compacts, or tells the user."""

import pytest

from tests.e2e.claude_runs import Claude, Run, call, script, tool_messages
from tests.e2e.test_claude_code import write_png

OVERFLOW = (
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens. "
    "Please reduce the length of the messages."
)
LONG = "a text that takes more than a few pieces until it is complete"


def retries(run: Run) -> list[tuple[int, float]]:
    told = [event for event in run.events if event.get("subtype") == "api_retry"]
    return [(event["error_status"], event["retry_delay_ms"]) for event in told]


def test_a_busy_model_is_asked_again_after_the_time_it_named(claude: Claude) -> None:
    """By the client, where that is longer than the gateway waits."""
    run = claude.ask(f"demo: fail 429 retry-after=3 times=1 message=Slow down, {claude.version}.\ndemo: say at last")
    assert (run.status, run.result["result"]) == (0, "at last")
    assert run.reasons() == ["Upstream", None]
    [(status, wait)] = retries(run)
    assert status == 429 and 3000 <= wait < 4000


def test_an_empty_purse_is_not_asked_again(claude: Claude) -> None:
    run = claude.ask("demo: fail 429 code=insufficient_quota message=You exceeded your current quota.")
    assert run.result["is_error"] and "You exceeded your current quota." in run.result["result"]
    assert run.reasons() == ["Upstream"]


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_a_stream_cut_short_is_asked_for_again(claude: Claude, fault: str) -> None:
    run = claude.ask(f"demo: {fault} times=1 message={claude.version}\ndemo: say {LONG}")
    assert (run.status, run.result["result"]) == (0, LONG)
    assert run.reasons() == ["Truncated", None]
    streamed = [body.get("stream", False) for body in run.bodies]
    # Told by an event that the stream is cut, the client wants a whole answer. A reset may reach it as a lost
    # connection or, before anything was sent, as a 502.
    assert streamed == [True, False] if fault == "truncate" else len(streamed) == 2
    assert [block["text"] for block in run.blocks("assistant")] == [LONG]


@pytest.mark.parametrize("claude", ["2.1.330"], indirect=True)
def test_a_model_that_stays_broken_is_reported(claude: Claude) -> None:
    run = claude.ask("demo: fail 503 message=Down for maintenance.", environ={"CLAUDE_CODE_MAX_RETRIES": "1"})
    assert (run.status, run.result["is_error"]) == (1, True)
    assert run.result["result"].startswith("API Error: 529 Down for maintenance.")
    assert run.reasons() == ["Upstream", "Upstream"]


def test_a_full_context_is_compacted_and_the_session_goes_on(claude: Claude) -> None:
    # The client has the beginning summarized, whose next step is then the second; newer turns it keeps.
    run = claude.ask(
        script(
            call("Bash", command="echo 1"),
            "demo: say <summary>All that happened so far.</summary>\n" + call("Bash", command="echo 2"),
            call("Bash", command="echo 3"),
            f"demo: fail 400 code=context_length_exceeded times=1 message={OVERFLOW} ({claude.version})",
        )
    )
    assert (run.status, run.result["is_error"]) == (0, False)
    assert [event for event in run.events if event.get("subtype") == "compact_boundary"]
    assert run.reasons() == [None, None, None, "Upstream", None, None]
    *_, summarize, after = run.bodies
    assert "Respond with TEXT ONLY" in str(summarize["messages"][-1]["content"])
    assert "All that happened so far." in str(after["messages"][:3]) and OVERFLOW not in str(after["messages"])
    assert tool_messages(after) == ["2", "3"]
    assert run.result["result"] == "Tool result: 3"


@pytest.mark.parametrize("claude", ["2.1.330"], indirect=True)
def test_without_an_image_that_the_model_refuses_the_session_goes_on(claude: Claude) -> None:
    """The client takes it out because of the token in the message; older ones end the session."""
    write_png(claude.work / "dot.png")
    refusal = "demo: fail 400 times=1 message=This model does not support image input."
    run = claude.ask(script(call("Read", file_path=str(claude.work / "dot.png")), refusal + "\ndemo: say seen"))
    assert (run.status, run.result["result"]) == (0, "seen")
    assert run.reasons() == [None, "Upstream", None]
    refused, after = run.bodies[-2:]
    assert "image_url" in str(refused["messages"]) and "image_url" not in str(after["messages"])
