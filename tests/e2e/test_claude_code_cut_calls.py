"""Tool calls that were cut short are not run by the real Claude Code: a half command may be anything."""

import contextlib
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.e2e import mcp_server
from tests.e2e.claude_code import VERSIONS, install
from tests.e2e.claude_runs import GATEWAY, Claude, Run, made
from tests.e2e.serving import serving
from tests.e2e.stack import ONE_WORKER, Json, Model, Stack, up

MCP_TOOL = f"mcp__{mcp_server.NAME}__{mcp_server.TOOL}"
BASH = '{"description":"x","command":"touch half'
NOTE = '{"path":"/srv/data","text":"half'
LENGTH, ROUTER, DONE, CUT_OFF = "length", "tool_calls", "bare [DONE]", "stream cut off"
WAYS = (LENGTH, ROUTER, DONE, CUT_OFF)
CASES = [(tool, arguments, way) for tool, arguments in (("Bash", BASH), (MCP_TOOL, NOTE)) for way in WAYS]
# A router's finish makes it the call of a tool without parameters.
CASES += [(MCP_TOOL, "", way) for way in WAYS if way != ROUTER]


def chunk(delta: Json, finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "chatcmpl-1", "model": "m", "choices": choices}).encode() + b"\n\n"


def stream(tool: str, arguments: str, way: str) -> bytes:
    """A call, its arguments in two pieces."""
    half = len(arguments) // 2
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments[:half]}}
    rest = {"index": 0, "function": {"arguments": arguments[half:]}}
    said = chunk({"role": "assistant", "tool_calls": [first]})
    said += chunk({"tool_calls": [rest]}) if arguments else b""
    finish = chunk({}, way) if way in {LENGTH, ROUTER} else b""
    return said + finish + (b"" if way == CUT_OFF else b"data: [DONE]\n\n")


def answer(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return json.dumps({"id": "chatcmpl-2", "model": "m", "choices": [choice], "usage": usage}).encode()


class Upstream:
    """Answers the first streamed request with the bytes it is given, every other one with a text."""

    def __init__(self) -> None:
        self.bodies: list[Json] = []
        self._first = b""

    def begin(self, first: bytes) -> None:
        self.bodies, self._first = [], first

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        with serving(self._handler()) as url:
            yield f"{url}/v1"

    def _answer(self, body: Json) -> tuple[str, bytes]:
        self.bodies.append(body)
        if body.get("stream") and self._first:
            first, self._first = self._first, b""
            return "text/event-stream", first
        return "application/json", answer("All is well.")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            """HTTP/1.0: the end of the connection ends the body."""

            def do_POST(self) -> None:
                media, body = upstream._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-type", media)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[Upstream, str]]:
    found = Upstream()
    with found.serving() as url:
        yield found, url


@pytest.fixture(scope="module")
def cutting(tmp_path_factory: pytest.TempPathFactory, upstream: tuple[Upstream, str]) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("gateway-of-cut-calls")
    with up(folder, environ={"MODEL_URL": upstream[1]}, config=GATEWAY, arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(params=VERSIONS)
def claude(request: pytest.FixtureRequest, cutting: Stack, tmp_path: Path) -> Claude:
    nothing = Model("", tmp_path / "none.jsonl")
    return Claude(request.param, install()[request.param], cutting, nothing, tmp_path)


def ask(claude: Claude, upstream: Upstream, tool: str, arguments: str, way: str) -> Run:
    upstream.begin(stream(tool, arguments, way))
    server = {"command": sys.executable, "args": [mcp_server.__file__, str(notes_of(claude))]}
    config = json.dumps({"mcpServers": {mcp_server.NAME: server}})
    environ = {"CLAUDE_CODE_MAX_RETRIES": "2", "ENABLE_TOOL_SEARCH": "false"}
    return claude.ask("Do something.", "--mcp-config", config, "--strict-mcp-config", environ=environ)


def notes_of(claude: Claude) -> Path:
    return made(claude.folder / "notes") / "calls.jsonl"


def declared(bodies: list[Json]) -> set[str]:
    return {tool["function"]["name"] for body in bodies for tool in body.get("tools", ())}


@pytest.mark.parametrize("tool", ["Bash", MCP_TOOL])
def test_a_whole_call_is_run(claude: Claude, upstream: tuple[Upstream, str], tool: str) -> None:
    """So the tests below would see a call that is run."""
    run = ask(claude, upstream[0], tool, (BASH if tool == "Bash" else NOTE) + '"}', ROUTER)
    assert (run.status, run.result["result"]) == (0, "All is well.")
    assert tool in declared(upstream[0].bodies)
    assert (claude.work / "half").exists() is (tool == "Bash")
    assert notes_of(claude).exists() is (tool == MCP_TOOL)


@pytest.mark.parametrize(("tool", "arguments", "way"), CASES)
def test_a_cut_call_is_not_run(
    claude: Claude, upstream: tuple[Upstream, str], tool: str, arguments: str, way: str
) -> None:
    run = ask(claude, upstream[0], tool, arguments, way)
    assert tool in declared(upstream[0].bodies)
    assert not (claude.work / "half").exists()
    assert not notes_of(claude).exists()
    assert (run.status, run.result["result"]) == (0, "All is well.")
