"""The real Claude Code as people sit before it: a terminal, auto mode, a session that is compacted and resumed."""

import json
import re
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.claude_code import NEWEST
from tests.e2e.claude_runs import QUIET, STREAM_JSON, Claude, Run, call, made, script, tool_messages
from tests.e2e.terminal import Terminal, terminal

pytestmark = pytest.mark.parametrize("claude", [NEWEST], indirect=True)
ASKED_BEFORE = {"hasCompletedOnboarding": True, "theme": "dark"}
SESSION = re.compile(r"claude --resume ([0-9a-f-]{36})")


def environment(claude: Claude) -> Mapping[str, str]:
    return {
        "PATH": claude.path(),
        "HOME": str(claude.home),
        "TMPDIR": str(made(claude.folder / "tmp")),
        **dict.fromkeys(QUIET, "1"),
    }


def command(claude: Claude) -> list[str]:
    ours = ["--url", claude.stack.url, "--keys", str(claude.stack.folder / "keys")]
    return [sys.executable, "-m", "extproc", "claude", *ours]


@pytest.fixture
def session(claude: Claude) -> Iterator[Terminal]:
    """Somebody who has used it before, in this folder."""
    trusted = {str(claude.work): {"hasTrustDialogAccepted": True}}
    (claude.home / ".claude.json").write_text(json.dumps({**ASKED_BEFORE, "projects": trusted}))
    with terminal(command(claude), environment(claude), claude.work) as running:
        running.shows("auto mode on")
        yield running


def resumed(claude: Claude, *words: str) -> Run:
    return claude.run([*command(claude), *STREAM_JSON, *words], {})


def test_an_interactive_session(claude: Claude, session: Terminal) -> None:
    """Auto mode is what it starts in: an action that is not harmless is checked by a call, and runs."""
    before = claude.model.asked()
    session.say("demo: say hello-from-a-terminal")
    session.shows("● hello-from-a-terminal")
    session.say(call("Bash", command="curl -s http://127.0.0.1:1/; echo $((6*7)) > made.txt"))
    session.shows("● Tool result:")
    assert (claude.work / "made.txt").read_text() == "42\n"
    bodies = [json.loads(request["body"]) for request in claude.model.since(before)]
    assert [body for body in bodies if "<severity>" in str(body["messages"][-1])]
    session.say("/exit")
    session.shows("ended with 0")


def test_a_session_is_compacted_left_and_resumed(claude: Claude, session: Terminal) -> None:
    session.say("demo: say the-first-answer")
    session.shows("● the-first-answer")
    session.say("/compact")
    session.shows("Compacted")
    session.say("demo: say the-second-answer")
    session.shows("● the-second-answer")
    session.say("/exit")
    found = SESSION.search(session.shows("ended with 0"))
    assert found is not None
    run = resumed(claude, "--resume", found[1], "-p", "demo: say the-third-answer")
    assert (run.status, run.result["result"]) == (0, "the-third-answer"), run.err
    sent = str(run.bodies[-1]["messages"])
    assert "the-second-answer" in sent and "demo: say the-first-answer" not in sent


def test_the_last_session_goes_on_with_its_tools(claude: Claude) -> None:
    first = resumed(
        claude, "--dangerously-skip-permissions", "-p", script(call("Bash", command="echo one"), "demo: say 1")
    )
    assert first.result["result"] == "1", first.err
    run = resumed(
        claude, "--dangerously-skip-permissions", "-c", "-p", script(call("Bash", command="echo two"), "demo: say 2")
    )
    assert (run.status, run.result["result"]) == (0, "2"), run.err
    assert tool_messages(run.bodies[-1]) == ["one", "two"]
    assert run.result["session_id"] == first.result["session_id"]
