"""One run of the real Claude Code against the gateway: what it printed, what the model received, what is on record."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.stack import GATEWAY as PLAIN
from tests.e2e.stack import PROVIDER_KEY, Json, Line, Model, Stack
from tests.openai_types import check_chat_request

DEEPSEEK = '{name: "claude-deep*", provider: openai, model: deepseek-reasoner, profile: deepseek}'
GATEWAY = PLAIN.replace("models:\n", f"models:\n  - {DEEPSEEK}\n")
SECONDS = 60.0
QUIET = (
    "DISABLE_TELEMETRY",
    "DISABLE_AUTOUPDATER",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "IS_SANDBOX",  # lets root skip permissions
)
STREAM_JSON = ("--output-format", "stream-json", "--verbose")
UPSTREAM_HEADERS = {"host", "x-request-id", "content-type", "content-length"} | {
    "accept", "accept-encoding", "user-agent", "authorization",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    err: str
    bodies: list[Json]
    """What the model received."""
    records: list[Json]
    """The access log's lines, those that never reached a model included."""

    @property
    def events(self) -> list[Json]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def result(self) -> Json:
        """The last event: what the user sees in the end."""
        last = self.events[-1]
        assert last["type"] == "result"
        return last

    def blocks(self, role: str) -> list[Json]:
        """The content blocks of the client's own conversation, subagents' included."""
        messages = [event["message"]["content"] for event in self.events if event["type"] == role]
        return [block for content in messages if isinstance(content, list) for block in content]

    def results(self) -> list[Any]:
        """What the tools gave, in the order in which they came."""
        return [block["content"] for block in self.blocks("user") if block["type"] == "tool_result"]

    def calls(self) -> list[str]:
        return [block["name"] for block in self.blocks("assistant") if block["type"] == "tool_use"]

    def reasons(self) -> list[str | None]:
        """Of the calls that a model was asked for, or should have been."""
        return [line["reason"] for line in self.records if line["http.path"] == "/v1/messages"]


@dataclass(frozen=True)
class Claude:
    """A pinned version with an empty home, in a folder of its own, with hardly any environment."""

    version: str
    binary: Path
    stack: Stack
    model: Model
    folder: Path

    def ask(self, prompt: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Run:
        command = [str(self.binary), "--dangerously-skip-permissions", *STREAM_JSON, *arguments, "-p", prompt]
        return self.run(command, {**self.base(ANTHROPIC_AUTH_TOKEN=self.stack.good_token), **(environ or {})})

    def base(self, **variables: str) -> dict[str, str]:
        return {"ANTHROPIC_BASE_URL": self.stack.url, **variables}

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> Run:
        asked, printed = self.model.asked(), len(self.stack.out.seen)
        bare = {"PATH": self.path(), "HOME": str(self.home), "TMPDIR": str(made(self.folder / "tmp"))}
        environment = {**bare, **dict.fromkeys(QUIET, "1"), **environ}
        done = subprocess.run(
            command, env=environment, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        requests = self.model.since(asked)
        for request in requests:
            self.check(request)
        assert self.stack.good_token not in self.stack.printed
        bodies = [json.loads(request["body"]) for request in requests if request["body"]]
        return Run(done.returncode, done.stdout, done.stderr, bodies, self.records_since(printed))

    def check(self, request: Json) -> None:
        """Who asked, what was asked, and what it took; or why there is no answer."""
        check_request(request)
        wanted = dict(request["headers"])["x-request-id"]
        line = self.stack.record_where(lambda line: line["x-request-id"] == wanted)
        assert (line["jwt.iss"], line["caller.team"]) == ("claude-code-lab", "data-platform")
        assert line["gen_ai.upstream.model"] == json.loads(request["body"])["model"]
        if line["reason"] is None:
            assert line["http.status"] == 200
            assert line["gen_ai.usage.input_tokens"] > 0 and line["gen_ai.usage.output_tokens"] > 0

    def records_since(self, printed: int) -> list[Json]:
        """Lines come in order: those before a probe's are complete when the probe's is there."""
        probe = self.stack.record(self.stack.call(method="HEAD", path="/", token=None))
        lines: list[Json] = [Line(json.loads(line)) for line in self.stack.out.seen[printed:] if line.startswith("{")]
        return lines[: lines.index(probe)]

    @property
    def home(self) -> Path:
        return made(self.folder / "home")

    @property
    def work(self) -> Path:
        return made(self.folder / "work")

    def path(self) -> str:
        """`claude` and what it needs of a system, no more."""
        folder = made(self.folder / "bin")
        if not (folder / "claude").exists():
            (folder / "claude").symlink_to(self.binary)
        needed = {str(Path(found).parent) for name in ("sh", "bash", "cat") if (found := shutil.which(name))}
        return os.pathsep.join([str(folder), *sorted(needed)])


def call(tool: str, **arguments: object) -> str:
    """A directive that makes the demo model call a tool."""
    return f"demo: call {tool} {json.dumps(arguments)}"


def script(*steps: str) -> str:
    return "\ndemo: then\n".join(steps)


def tool_messages(body: Json) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def check_request(request: Json) -> None:
    """Chat Completions by OpenAI's own types, calls answered at once, and none of the caller's headers."""
    headers = dict(request["headers"])
    assert (request["method"], request["path"]) == ("POST", "/v1/chat/completions")
    assert set(headers) <= UPSTREAM_HEADERS
    assert headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    body = json.loads(request["body"])
    check_chat_request(as_openai(body) if body["model"].startswith("deepseek") else body)
    check_pairs(body["messages"])
    assert "x-anthropic-billing-header" not in request["body"]


def as_openai(body: Json) -> Json:
    """DeepSeek has one member in a request and one in a message that OpenAI does not know."""
    messages = [{key: value for key, value in m.items() if key != "reasoning_content"} for m in body["messages"]]
    return {**{key: value for key, value in body.items() if key != "thinking"}, "messages": messages}


def check_pairs(messages: list[Json]) -> None:
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting, "a call without its result right behind it"
            waiting = [call["id"] for call in message.get("tool_calls", ())]
    assert not waiting
