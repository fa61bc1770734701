"""What strangers can write into the log: little, and nothing that a terminal acts on."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench import attack
from tests.e2e import http2, wire
from tests.e2e.prometheus import Scrape
from tests.e2e.stack import GATEWAY, SECONDS, Json, Model, Stack, free_port, prompt, up

MOST = 4096
# ESC, CSI (C1), right-to-left override, isolate, line separator, paragraph separator
ODD = "\x1b[2J\x9b31m\u202eevil\u2066\u2028\u2029\x00\x7f"
BURST = 20
HASTY = GATEWAY + "limits: {refusals_logged: 1}\n"


def printed(stack: Stack, request_id: str) -> str:
    """The line as it was written."""
    return stack.out.first(lambda line: line if request_id in line and line.startswith("{") else None)


def harmless(line: str) -> bool:
    return line.isprintable() and len(line.encode()) < MOST


@pytest.mark.parametrize(
    "path", ["/v1/messages/" + "x" * 20_000, "/\u202e\u2028\u2066" * 300, '/"\\' * 1000], ids=["long", "bidi", "quotes"]
)
@pytest.mark.parametrize("token", [None, "\u202e" * 3000], ids=["no token", "a token"])
def test_a_strangers_path(stack: Stack, path: str, token: str | None) -> None:
    """Control characters are refused as malformed HTTP; what else is no ASCII may come in by HTTP/2."""
    fields = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "gateway")]
    fields += [("x-request-id", "\u202e" * 1000)] + ([("authorization", f"Bearer {token}")] if token else [])
    answer = http2.send(stack.url, fields, b"{}")
    assert answer is not None
    line = printed(stack, answer.headers["request-id"])
    assert harmless(line) and json.loads(line)["http.path"][:1] in "/("


@pytest.mark.parametrize(
    ("claims", "name", "status"),
    [
        ({"sub": ODD + "s" * 3000, "team": "data-platform"}, "claude-x", 200),
        ({"org": "acme"}, "claude-" + ODD + "\U0001f600" * 2000, 404),
        ({"team": ODD + '"\\' * 1500}, "claude-x", 403),
        ({"team": [ODD] * 100}, "claude-x", 403),
    ],
    ids=["subject", "model", "claim", "list"],
)
def test_a_callers_names(stack: Stack, claims: Json, name: str, status: int) -> None:
    """Whatever a token or a body holds."""
    answer = stack.call(prompt("hello", model=name), token=stack.token(claims=claims))
    assert answer.status_code == status
    line = printed(stack, answer.headers["request-id"])
    assert harmless(line) and json.loads(line)["jwt.sub"]


def test_the_path_is_on_record_without_the_processor(stack: Stack) -> None:
    """And without its query, which may hold a secret."""
    children = psutil.Process(stack.process.pid).children()
    workers = [process for process in children if "extproc.transport.worker" in process.cmdline()]
    assert workers
    for process in workers:
        process.suspend()
    try:
        answer = stack.call(prompt("hello"), path="/v1/messages?api_key=hidden")
    finally:
        for process in workers:
            process.resume()
    assert answer.status_code in (503, 504)
    line = stack.record(answer)
    assert (line["http.path"], line["reason"]) == ("/v1/messages", "Internal")
    assert "hidden" not in stack.printed
    until_served(stack)


def until_served(stack: Stack) -> None:
    deadline = time.monotonic() + SECONDS
    while stack.call(prompt("demo: say hi")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_members_without_a_value_are_left_out(stack: Stack) -> None:
    answer = stack.call(prompt("demo: say hi"))
    line = json.loads(printed(stack, answer.headers["request-id"]))
    assert None not in line.values() and "reason" not in line and line["gen_ai.usage.output_tokens"] == 1


@pytest.fixture
def hasty(tmp_path: Path, model: Model) -> Iterator[tuple[Stack, str]]:
    """And where its metrics are."""
    port = free_port()
    config = HASTY + f"metrics: {{port: {port}}}\n"
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=["--workers", "1"]) as running:
        yield running, f"http://127.0.0.1:{port}/metrics"


def test_refusals_of_strangers_are_sampled_and_all_are_counted(hasty: tuple[Stack, str]) -> None:
    stack, metrics = hasty
    for _ in range(5 * BURST):
        assert stack.call(prompt("hello"), token=None).status_code == 401
    known = stack.call(prompt("hello"), token=stack.token(team="marketing"))
    assert stack.record(known)["reason"] == "Authorization", "a known caller's refusal is always logged"
    logged = sum('"JwtAuth"' in line for line in stack.out.seen)
    assert BURST <= logged < 2 * BURST
    scrape = Scrape(metrics)
    assert scrape.total("extproc_requests_total", reason="JwtAuth") == 5 * BURST
    assert scrape.total("extproc_log_left_out_total") == 5 * BURST - logged


def test_what_envoy_refuses_by_itself_is_sampled_too(hasty: tuple[Stack, str]) -> None:
    """Garbage, and streams that are reset before the processor has said a word."""
    stack, metrics = hasty
    for _ in range(5 * BURST):
        with wire.connect(stack.url) as client:
            client.sendall(b"GARBAGE\r\n\r\n")
            client.recv(1 << 16)
    with wire.connect(stack.url) as client:
        client.sendall(attack.PREFACE + attack.opened_and_reset(1, 200))
        client.shutdown(socket.SHUT_WR)
        while client.recv(1 << 16):
            pass
    answer = stack.call(prompt("demo: say hi"))
    assert stack.record(answer)["http.status"] == 200
    assert BURST <= len(stack.out.seen) < 4 * BURST
    assert Scrape(metrics).total("extproc_log_left_out_by_envoy_total") > 2 * BURST


def test_a_strangers_method(stack: Stack) -> None:
    fields = [(":method", "M" * 5000), (":path", "/v1/messages"), (":scheme", "http"), (":authority", "gateway")]
    answer = http2.send(stack.url, fields, b"{}")
    assert answer is not None
    line = printed(stack, answer.headers["request-id"])
    assert harmless(line) and json.loads(line)["http.method"] == "M" * 16
