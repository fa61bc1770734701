"""The real Claude Code through a real Envoy on a Chat Completions model: prompts, tools, subagents, thinking."""

import base64
import struct
import zlib
from pathlib import Path

import pytest

from tests.e2e.claude_runs import Claude, call, script, tool_messages
from tests.e2e.stack import Json


def write_png(path: Path) -> None:
    """One red dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    dot = chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + dot + chunk(b"IEND", b""))


def called(body: Json) -> list[str]:
    return [call["function"]["name"] for message in body["messages"] for call in message.get("tool_calls", ())]


def test_a_plain_prompt(claude: Claude) -> None:
    environ = claude.base(ANTHROPIC_AUTH_TOKEN=claude.stack.good_token)
    run = claude.run([str(claude.binary), "-p", "demo: say bonjour"], environ)
    assert (run.status, run.out) == (0, "bonjour\n")
    assert [body["stream"] for body in run.bodies] == [True]
    assert run.reasons() == [None]
    probes = [(line["http.method"], line["http.path"], line["http.status"]) for line in run.records[:-1]]
    assert set(probes) <= {("HEAD", "/", 200), ("HEAD", "/api/hello", 200)}


def test_the_events_of_a_stream(claude: Claude) -> None:
    run = claude.ask("demo: say one two three four", "--include-partial-messages")
    assert (run.events[0]["type"], run.events[0]["subtype"]) == ("system", "init")
    streamed = [event["event"] for event in run.events if event["type"] == "stream_event"]
    kinds = [event["type"] for event in streamed]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(event["delta"]["text"] for event in streamed[2:-3]) == "one two three four"
    assert (run.result["subtype"], run.result["result"]) == ("success", "one two three four")
    for way in ("input_tokens", "output_tokens"):
        assert run.result["usage"][way] == run.records[-1][f"gen_ai.usage.{way}"]


def test_a_tool_runs_and_its_result_goes_back(claude: Claude) -> None:
    first = "demo: say Let me see.\n" + call("Bash", command="echo $((6*7)) > answer.txt && cat answer.txt")
    run = claude.ask(script(first, call("Bash", command="echo no; exit 3"), "demo: say done"))
    assert (run.status, run.result["result"], run.calls()) == (0, "done", ["Bash", "Bash"])
    assert (claude.work / "answer.txt").read_text() == "42\n"
    assert tool_messages(run.bodies[1]) == ["42"]
    failed = tool_messages(run.bodies[2])[1]
    assert failed.startswith("Error") and "no" in failed
    asked = next(message for message in run.bodies[1]["messages"] if message["role"] == "assistant")
    assert (asked["content"], asked["tool_calls"][0]["function"]["name"]) == ("Let me see.", "Bash")
    assert [line["gen_ai.response.finish_reasons"] for line in run.records[-3:]] == ["tool_use", "tool_use", "end_turn"]


def test_text_and_picture_are_read_over_several_turns(claude: Claude) -> None:
    (claude.work / "notes.txt").write_text("alpha\nbeta\n")
    write_png(claude.work / "dot.png")
    reads = [call("Read", file_path=str(claude.work / name)) for name in ("notes.txt", "dot.png")]
    run = claude.ask(script(*reads, "demo: say seen"))
    assert run.result["result"] == "seen"
    assert "alpha" in tool_messages(run.bodies[2])[0] and "beta" in tool_messages(run.bodies[2])[0]
    contents = [message["content"] for message in run.bodies[2]["messages"] if message["role"] == "user"]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert len(pictures) == 1
    head, _, data = pictures[0].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_parallel_tools(claude: Claude) -> None:
    (claude.work / "notes.txt").write_text("alpha\n")
    both = call("Read", file_path=str(claude.work / "notes.txt")) + "\n" + call("Bash", command="echo beside")
    run = claude.ask(script(both, "demo: say both"))
    assert (run.result["result"], run.calls()) == ("both", ["Read", "Bash"])
    assert len(run.bodies) == 2
    asked = next(message for message in run.bodies[1]["messages"] if message["role"] == "assistant")
    ids = [call["id"] for call in asked["tool_calls"]]
    answers = {m["tool_call_id"]: m["content"] for m in run.bodies[1]["messages"] if m["role"] == "tool"}
    assert "alpha" in answers[ids[0]] and answers[ids[1]] == "beside"


def test_a_subagent(claude: Claude) -> None:
    below = script(call("Bash", command="echo deep"), "demo: say from below")
    task = call("Agent", description="dig", prompt=below, subagent_type="general-purpose", run_in_background=False)
    run = claude.ask(script(task, "demo: say above"))
    assert run.result["result"] == "above"
    assert [event for event in run.events if event.get("parent_tool_use_id")]
    assert run.reasons() == [None] * 4
    assert [tool_messages(body) for body in run.bodies[:3]] == [[], [], ["deep"]]
    assert "from below" in tool_messages(run.bodies[3])[0]


@pytest.mark.parametrize("claude", ["2.1.330"], indirect=True)  # with the older one they run in the foreground
def test_a_subagent_in_the_background(claude: Claude) -> None:
    below = call("Bash", command="echo deep$((6*7))")
    task = call("Agent", description="dig", prompt=below, subagent_type="general-purpose")
    run = claude.ask(script(task, "demo: say waiting", "demo: say heard"))
    assert (run.status, run.result["is_error"]) == (0, False)
    assert set(run.reasons()) == {None}
    told = [body for body in run.bodies if "Agent" in called(body)]
    assert "deep42" in str(told[-1]["messages"])


@pytest.mark.parametrize("claude", ["2.1.330"], indirect=True)  # the older one sends all tools at once
def test_tools_that_are_loaded_when_asked_for(claude: Claude) -> None:
    edit = call("NotebookEdit", notebook_path=str(claude.work / "a.ipynb"), new_source="x", edit_mode="insert")
    run = claude.ask(script(call("ToolSearch", query="select:NotebookEdit"), edit, "demo: say over"))
    assert (run.result["result"], run.calls()) == ("over", ["ToolSearch", "NotebookEdit"])
    offered = [{tool["function"]["name"] for tool in body["tools"]} for body in run.bodies]
    assert ["NotebookEdit" in names for names in offered] == [False, True, True]


def test_thinking_is_shown_and_goes_back_to_a_model_that_demands_it(claude: Claude) -> None:
    first = "demo: think First I count.\n" + call("Bash", command="echo 1")
    run = claude.ask(
        script(first, "demo: think Now I know.\ndemo: say one"), environ={"ANTHROPIC_MODEL": "claude-deep"}
    )
    assert run.result["result"] == "one"
    thoughts = [block["thinking"] for block in run.blocks("assistant") if block["type"] == "thinking"]
    assert thoughts == ["First I count.", "Now I know."]
    assert [body["thinking"] for body in run.bodies] == [{"type": "enabled"}] * 2
    asked = next(message for message in run.bodies[1]["messages"] if message["role"] == "assistant")
    assert asked["reasoning_content"] == "First I count."


def test_tokens_are_counted_without_a_model(claude: Claude) -> None:
    run = claude.ask("/context")
    assert run.status == 0 and "Context Usage" in run.result["result"]
    assert run.bodies == []
    counts = [line for line in run.records if line["http.path"] == "/v1/messages/count_tokens"]
    assert len(counts) > 5
    assert {line["http.status"] for line in counts} == {200}
    assert min(line["gen_ai.usage.input_tokens"] for line in counts) > 0


def write_pdf(path: Path) -> None:
    """One empty page."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    ]
    body, places = b"%PDF-1.4\n", []
    for n, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj%bendobj\n" % (n, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(body)
    path.write_bytes(body + b"xref\n0 4\n0000000000 65535 f \n" + table + trailer)


def test_a_session_with_a_pdf_goes_on_with_a_model_that_reads_none(claude: Claude) -> None:
    """Its history is sent again with each turn, also when the session is resumed."""
    write_pdf(claude.work / "report.pdf")
    model = ("--model", "claude-deepseek")
    first = claude.ask(script(call("Read", file_path=str(claude.work / "report.pdf")), "demo: say read"), *model)
    assert (first.status, first.result["result"]) == (0, "read")
    assert "this model cannot read PDF files]" in str(first.bodies[-1]["messages"])
    again = claude.ask("demo: say still here", *model, "--resume", first.result["session_id"])
    assert (again.status, again.result["result"]) == (0, "still here")
    assert "this model cannot read PDF files]" in str(again.bodies[-1]["messages"])
    assert first.reasons() + again.reasons() == [None, None, None]


def test_a_search_of_the_web_tells_the_model_that_there_is_none(claude: Claude) -> None:
    asked = script(call("WebSearch", query="envoy ext_proc"), "demo: say I looked elsewhere")
    run = claude.ask(asked, environ={"ENABLE_TOOL_SEARCH": "false"})
    assert (run.status, run.result["result"]) == (0, "I looked elsewhere")
    [result] = run.results()
    assert "web search is not available here; use another tool" in str(result) and "API Error" not in str(result)
    assert set(run.reasons()) == {None}
