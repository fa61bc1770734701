"""Calls move on from and to a cloud, and clients that speak a cloud's API may ask models with several providers."""

import base64
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.eventstream import EventStreamBuffer

from extproc.config import loading
from extproc.usage.opening import open_ledger
from tests.e2e import aws
from tests.e2e.clouds import COMPLETION, EVENTS, MESSAGE, Answer, Cloud, answered, chunk, exception, frames, refused
from tests.e2e.stack import SECONDS, Json, Stack, prompt, text_of, up
from tests.e2e.test_cloud_clients import bedrock
from tests.e2e.token_server import ROLE, SENT_KEYS

FIRSTS_KEY, CHATS_KEY = "sk-key-of-the-first-0123456789", "sk-key-of-chat-0123456789"
CONFIG = f"""
authentication:
  jwt:
    - {{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}
providers:
  first:
    dialects: [messages]
    base_url: "${{FIRST_URL}}"
    api_key: {{env: FIRST_KEY}}
    outliers: {{failures: 1000}}
  bedrock:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages]
    base_url: "${{CLOUD_URL}}"
    auth: {{aws: {{keys: {aws.KEYS}}}}}
    outliers: {{failures: 1000}}
  chat:
    dialects: [chat]
    base_url: "${{CHAT_URL}}/v1"
    api_key: {{env: CHAT_KEY}}
    outliers: {{failures: 1000}}
  gone: {{dialects: [messages], base_url: "http://127.0.0.1:1"}}
  absent:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages]
    base_url: "http://127.0.0.1:1"
    auth: {{aws: {{keys: {aws.KEYS}}}}}
  locked:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages]
    base_url: "${{CLOUD_URL}}"
    auth: {{aws: {{keys: {aws.KEYS}, role: "{ROLE}"}}, endpoint: "http://127.0.0.1:1/sts"}}
  limited: {{dialects: [chat], base_url: "${{CHAT_URL}}/v1"}}
models:
  - name: "claude-to-cloud*"
    providers: [{{provider: first, model: claude-own}}, {{provider: bedrock, model: "{aws.MODEL}"}}]
  - name: "claude-from-cloud*"
    providers: [{{provider: bedrock, model: "{aws.MODEL}"}}, {{provider: chat, model: gpt-x}}]
  - name: "claude-copied*"
    providers: [{{provider: first, model: claude-own}}, {{provider: chat, model: gpt-x}}]
    mirror: {{provider: bedrock, model: "{aws.MODEL}", share: 1}}
  - name: "claude-unreachable*"
    providers: [{{provider: gone, model: claude-own}}, {{provider: absent, model: "{aws.MODEL}"}}]
  - name: "claude-locked*"
    providers: [{{provider: locked, model: "{aws.MODEL}"}}, {{provider: chat, model: gpt-x}}]
  - name: claude-only-locked
    providers: [{{provider: locked, model: "{aws.MODEL}"}}, {{provider: locked, model: "{aws.ARN}"}}]
  - name: claude-limited
    providers: [{{provider: bedrock, model: "{aws.MODEL}"}}, {{provider: limited, model: gpt-x}}]
prices: {{overrides: [{{model: "*", input: 2, output: 6}}]}}
usage: {{}}
workers: 1
"""
TEXT = "Grüezi from the cloud"
STREAM = frames(*map(chunk, EVENTS))
CHAT_STREAM = Answer(
    "".join(
        f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'model': 'm', **more})}\n\n"
        for more in (
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "h"}}]},
            {"choices": [{"index": 0, "delta": {"content": "i"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": COMPLETION["usage"]},
        )
    ).encode()
    + b"data: [DONE]\n\n",
    headers={"content-type": "text/event-stream"},
)
SECRET = "told-by-the-first"
FAILED = answered({"type": "error", "error": {"type": "api_error", "message": SECRET}}, 500, x_secret=SECRET)
OVERLOADED = answered({"type": "error", "error": {"type": "overloaded_error", "message": SECRET}}, 529)
THROTTLED = refused(429, "ThrottlingException", "Too many tokens")


@dataclass(frozen=True)
class Running:
    stack: Stack
    first: Cloud
    bedrock: Cloud
    chat: Cloud
    environ: dict[str, str]

    def plays(self, first: Answer = FAILED, bedrock: Answer = THROTTLED, chat: Answer = FAILED) -> None:
        self.first.answer(first)
        self.bedrock.answer(bedrock)
        self.chat.answer(chat)

    def line(self, model: str) -> Json:
        """The log's only line of a model that one call has asked for."""
        return self.stack.record_where(lambda line: line["gen_ai.request.model"] == model)

    def invoke(self, model: str, operation: str = "invoke", **more: Any) -> httpx.Response:
        """As a client of Bedrock's."""
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9}
        body |= {"messages": [{"role": "user", "content": "hi"}], **more}
        return self.stack.call(body, path=f"/bedrock/model/eu.anthropic.{model}-v1%3A0/{operation}")

    def rows(self) -> list[Json]:
        config = loading.load(self.stack.folder / "gateway.yaml", self.environ)
        with closing(open_ledger(config, self.environ)) as ledger:
            found: list[Json] = ledger.sums(("model", "provider"))
            return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as opened:
        first, chat = (opened.enter_context(Cloud(lambda _seen, _method: None).serving()) for _ in range(2))
        cloud = opened.enter_context(Cloud(aws.verify).serving())
        environ = {
            **SENT_KEYS, "FIRST_URL": first.url, "CLOUD_URL": cloud.url, "CHAT_URL": chat.url,
            "FIRST_KEY": FIRSTS_KEY, "CHAT_KEY": CHATS_KEY,
        }  # fmt: skip
        stack = opened.enter_context(up(tmp_path_factory.mktemp("failover-clouds"), environ=environ, config=CONFIG))
        yield Running(stack, first, cloud, chat, environ)


def events_of(raw: bytes) -> list[Json]:
    """What AWS's own parser makes of a stream."""
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    return [{"headers": dict(one.headers), **json.loads(one.payload)} for one in buffer]


_numbers = itertools.count()


def new(name: str) -> str:
    """A model that no other call asks for, so that the log's line is this call's."""
    return f"{name}-n{next(_numbers)}"


def tried(line: Json) -> list[str]:
    """Who was asked, and with which status they answered."""
    return [re.sub(r"^(\S+ \d+) .*", r"\1", one) for one in str(line["attempts"]).split("; ")]


def counted(line: Json) -> tuple[Any, ...]:
    """Who answered, tokens, and what they cost."""
    used = (line[f"gen_ai.usage.{name}"] for name in ("input_tokens", "output_tokens", "cost"))
    return line["gen_ai.provider.name"], *used


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("failure", [FAILED, OVERLOADED], ids=["500", "529"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_call_moves_on_to_bedrock(running: Running, path: str, failure: Answer, stream: bool) -> None:
    model = new("claude-to-cloud")
    running.plays(first=failure, bedrock=STREAM if stream else answered(MESSAGE))
    answer = running.stack.call(prompt("hi", model=model, stream=stream), path=path)
    assert answer.status_code == 200 and SECRET not in f"{answer.headers} {answer.text}"
    assert ("text/event-stream" in answer.headers["content-type"]) == stream
    assert "from the cloud" in answer.text
    [seen] = running.bedrock.received
    operation = "invoke-with-response-stream" if stream else "invoke"
    assert seen.path == f"/model/{aws.MODEL}/{operation}"
    assert seen.body["anthropic_version"] == "bedrock-2023-05-31" and not {"model", "stream"} & seen.body.keys()
    assert FIRSTS_KEY not in str(seen) and running.stack.good_token not in str(seen)
    assert not {"x-api-key", "anthropic-version"} & seen.headers.keys()
    assert not [name for name in seen.headers if name.startswith(("x-extproc", "x-envoy"))]
    assert running.first.last.headers["x-api-key"] == FIRSTS_KEY
    assert "x-amz-date" not in running.first.last.headers
    line = running.line(model)
    assert counted(line) == ("bedrock", 11, 5, pytest.approx((11 * 2 + 5 * 6) / 1e6))
    assert tried(line) == [f"first {failure.status}", "bedrock 200"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_call_moves_on_from_bedrock(running: Running, path: str, stream: bool) -> None:
    model = new("claude-from-cloud")
    running.plays(chat=CHAT_STREAM if stream else answered(COMPLETION))
    answer = running.stack.call(prompt("hi", model=model, stream=stream), path=path)
    assert answer.status_code == 200 and "Too many tokens" not in answer.text
    assert "x-amzn-errortype" not in answer.headers
    [seen], [asked] = running.chat.received, running.bedrock.received
    assert (seen.target, seen.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {CHATS_KEY}")
    assert not [name for name in seen.headers if name.startswith(("x-amz", "x-extproc", "x-envoy"))]
    assert seen.body["model"] == "gpt-x" and "anthropic_version" not in seen.body
    assert asked.path.endswith("invoke-with-response-stream" if stream else "invoke")
    line = running.line(model)
    assert counted(line) == ("chat", 5, 2, pytest.approx((5 * 2 + 2 * 6) / 1e6))
    assert tried(line) == ["bedrock 429", "chat 200"]


@pytest.mark.parametrize("model", ["claude-to-cloud", "claude-from-cloud"])
def test_a_client_of_bedrocks_gets_the_answer_of_the_second(running: Running, model: str) -> None:
    sdk = bedrock(running.stack, running.stack.good_token)
    expected = TEXT if model == "claude-to-cloud" else "hi"
    asked: dict[str, Any] = {"model": f"eu.anthropic.{model}-v1:0", "max_tokens": 9}
    asked["messages"] = [{"role": "user", "content": "hi"}]
    running.plays(bedrock=answered(MESSAGE) if expected == TEXT else THROTTLED, chat=answered(COMPLETION))
    message = sdk.messages.create(**asked)
    assert text_of(message.model_dump()) == expected
    running.plays(bedrock=STREAM if expected == TEXT else THROTTLED, chat=CHAT_STREAM)
    with sdk, sdk.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == expected
        assert stream.get_final_message().stop_reason == "end_turn"


def test_its_stream_is_in_frames_and_on_record(running: Running) -> None:
    model = new("claude-to-cloud")
    running.plays(bedrock=STREAM)
    answer = running.invoke(model, "invoke-with-response-stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.amazon.eventstream")
    assert {one["headers"][":event-type"] for one in events_of(answer.content)} <= {"chunk", "ping"}
    line = running.line(model)
    assert counted(line) == ("bedrock", 11, 5, pytest.approx(52 / 1e6))
    assert (line["http.status"], tried(line)) == (200, ["first 500", "bedrock 200"])


ERRORS: list[tuple[str, Answer, int, str]] = [
    ("claude-to-cloud", THROTTLED, 429, "ThrottlingException"),
    ("claude-to-cloud", refused(503, "ServiceUnavailableException", "busy"), 503, "ServiceUnavailableException"),
    ("claude-from-cloud", FAILED, 500, "InternalServerException"),
    ("claude-from-cloud", answered({"error": {"message": "slow down"}}, 429), 429, "ThrottlingException"),
    ("claude-to-cloud", refused(400, "ValidationException", "messages: bad"), 400, "ValidationException"),
]


@pytest.mark.parametrize("operation", ["invoke", "invoke-with-response-stream"])
@pytest.mark.parametrize(("model", "last", "status", "kind"), ERRORS)
def test_if_all_fail_the_error_is_in_awss_form(
    running: Running, model: str, last: Answer, status: int, kind: str, operation: str
) -> None:
    to_cloud, model = model == "claude-to-cloud", new(model)
    running.plays(bedrock=last if to_cloud else THROTTLED, chat=last)
    answer = running.invoke(model, operation)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (status, kind)
    assert answer.headers["content-type"] == "application/json" and list(answer.json()) == ["message"]
    line = running.line(model)
    first, second = ("first 500", f"bedrock {last.status}") if to_cloud else ("bedrock 429", f"chat {last.status}")
    assert (line["http.status"], tried(line)) == (status, [first, second])
    assert line["gen_ai.provider.name"] == ("bedrock" if to_cloud else "chat")


def test_how_long_to_wait_is_said_in_awss_form_too(running: Running) -> None:
    running.plays(chat=answered({"error": {"message": "slow down"}}, 429, retry_after="7"))
    answer = running.invoke("claude-limited")
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (429, "ThrottlingException")
    assert answer.headers["retry-after"] == "7"


def test_what_an_attempt_refuses_to_translate_is_in_awss_form(running: Running) -> None:
    """Such an answer is Envoy's own word with a length, and AWS's form has another."""
    running.plays()
    answer = running.invoke("claude-from-cloud", messages=[{"role": "user", "content": [{"type": "unheard-of"}]}])
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert answer.json() == {"message": "messages: at least one message is required"}
    assert len(running.bedrock.received) == 1 and not running.chat.received


@pytest.mark.parametrize("operation", ["invoke", "invoke-with-response-stream"])
def test_if_none_can_be_reached_it_is_said_in_awss_form(running: Running, operation: str) -> None:
    model = new("claude-unreachable")
    answer = running.invoke(model, operation)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailableException")
    assert list(answer.json()) == ["message"]
    assert tried(running.line(model)) == ["gone unreachable", "absent unreachable"]


def test_a_provider_whose_credential_cannot_be_fetched_is_skipped(running: Running) -> None:
    """In `extproc check`, which fetches none, it is not."""
    model = new("claude-locked")
    running.plays(chat=answered(COMPLETION))
    answer = running.invoke(model)
    assert (answer.status_code, text_of(answer.json())) == (200, "hi")
    assert tried(running.line(model)) == ["chat 200"] and not running.bedrock.received
    body = running.stack.folder / "body.json"
    body.write_text(json.dumps(prompt("hi", model=model)))
    command = [sys.executable, "-m", "extproc", "check", "--token", running.stack.good_token, "--body", str(body)]
    environ = {**os.environ, **running.environ}
    said = subprocess.check_output(command, cwd=running.stack.folder, env=environ, text=True, timeout=SECONDS)
    assert "asked 1  locked" in said and "asked 2  chat" in said


def test_if_no_credential_can_be_fetched_the_client_is_told_when_to_come_back(running: Running) -> None:
    answer = running.invoke("claude-only-locked")
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailableException")
    assert answer.headers["retry-after"] == "5"
    line = running.line("claude-only-locked")
    assert (line["error"], line["gen_ai.provider.name"]) == ("no_credential", "locked")


def test_an_exception_before_the_first_content_moves_the_call_on(running: Running) -> None:
    model = new("claude-from-cloud")
    early = frames(chunk(EVENTS[0]), chunk(EVENTS[1]), exception("throttlingException", "Too many tokens"))
    running.plays(bedrock=early, chat=CHAT_STREAM)
    answer = running.invoke(model, "invoke-with-response-stream")
    assert answer.status_code == 200
    said = [json.loads(base64.b64decode(one["bytes"])) for one in events_of(answer.content) if "bytes" in one]
    assert [one["type"] for one in said].count("message_start") == 1
    assert "".join(one["delta"].get("text", "") for one in said if one["type"] == "content_block_delta") == "hi"
    line = running.line(model)
    assert tried(line) == ["bedrock 200", "chat 200"] and line["reason"] is None


def test_an_exception_after_it_is_one_in_awss_form(running: Running) -> None:
    model = new("claude-to-cloud")
    running.plays(bedrock=frames(*map(chunk, EVENTS[:4]), exception("throttlingException", "Too many tokens")))
    answer = running.invoke(model, "invoke-with-response-stream")
    *begun, last = events_of(answer.content)
    assert begun and last["headers"][":exception-type"] == "throttlingException"
    line = running.line(model)
    assert (line["gen_ai.provider.name"], line["reason"]) == ("bedrock", "Upstream")


@pytest.mark.parametrize("words", [1, 100_000], ids=["light", "heavy"])
def test_betas_and_bodies_reach_each_provider_in_its_own_form(running: Running, words: int) -> None:
    running.plays(bedrock=answered(MESSAGE))
    said = [{"role": "user", "content": "word " * words}]
    betas = ["interleaved-thinking-2025-05-14", "tool-search-tool-2025-10-19"]
    answer = running.invoke("claude-to-cloud", messages=said, anthropic_beta=betas)
    assert answer.status_code == 200
    asked, seen = running.first.last, running.bedrock.last
    named = set(asked.headers["anthropic-beta"].split(","))
    assert {"interleaved-thinking-2025-05-14", "advanced-tool-use-2025-11-20"} <= named
    assert not {"anthropic_beta", "anthropic_version"} & asked.body.keys()
    assert set(seen.body["anthropic_beta"]) == set(betas) and "anthropic-beta" not in seen.headers
    assert asked.body["messages"] == seen.body["messages"] == said


def test_tokens_are_counted_in_awss_form(running: Running) -> None:
    running.plays(first=answered({"input_tokens": 42}))
    inner = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }
    body = {"input": {"invokeModel": {"body": base64.b64encode(json.dumps(inner).encode()).decode()}}}
    answer = running.stack.call(body, path="/bedrock/model/claude-to-cloud/count-tokens")
    assert (answer.status_code, answer.json()) == (200, {"inputTokens": 42})
    running.plays(bedrock=answered({"inputTokens": 43}))
    answer = running.stack.call(body, path="/bedrock/model/claude-to-cloud/count-tokens")
    assert (answer.status_code, answer.json()) == (200, {"inputTokens": 43})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_copy_of_such_a_call_is_signed(running: Running, stream: bool) -> None:
    running.plays(chat=CHAT_STREAM if stream else answered(COMPLETION), bedrock=STREAM if stream else answered(MESSAGE))
    model = new("claude-copied")
    answer = running.invoke(model, "invoke-with-response-stream" if stream else "invoke")
    assert answer.status_code == 200 and TEXT not in answer.text
    until(lambda: bool(running.bedrock.received))
    [seen] = running.bedrock.received
    assert aws.verify(seen, "POST") is None
    assert seen.body["anthropic_version"] == "bedrock-2023-05-31"
    assert counted(running.line(model)) == ("chat", 5, 2, pytest.approx(22 / 1e6))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_ledger_has_such_a_call_once(running: Running) -> None:
    """Under who answered; a copy is none."""
    models = to_cloud, copied, from_cloud = new("claude-to-cloud"), new("claude-copied"), new("claude-from-cloud")
    running.plays(bedrock=answered(MESSAGE), chat=answered(COMPLETION))
    for model in models:
        assert running.invoke(model).status_code == 200
    until(lambda: set(models) <= {row["model"] for row in running.rows()})
    found = [row for row in running.rows() if row["model"] in models]
    assert sorted((row["model"], row["provider"], row["calls"], row["failed_calls"], row["cost"]) for row in found) == [
        (copied, "chat", 1, 0, 22_000),
        (from_cloud, "bedrock", 1, 0, 52_000),
        (to_cloud, "bedrock", 1, 0, 52_000),
    ]
