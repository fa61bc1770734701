"""A stream is complete, or it says that it is not: message_stop and `event: error` never both, never neither."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.refusals import refused
from tests.e2e.sse import events, kinds, said, streaming
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Json, Model, Stack, prompt, text_of, up

TEXT = "one two three four five six seven eight nine ten"
QUICK = GATEWAY + "streaming: {ping_interval: 0.2, first_event_hold: 0.3}\n"
QUICK = QUICK.replace(
    "models:",
    '  endless: {dialects: [chat], base_url: "${ENDLESS_URL}"}\nmodels:\n  - {name: endless, provider: endless}',
)


class Endless:
    """A model that sends what it is told to when it is told to, and never ends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.left = threading.Event()
        self.speak = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with self._listener, connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            self.speak.wait(SECONDS)
            connection.sendall(b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"hm"}}]}\n\n')
            while connection.recv(1 << 16):
                pass
        self.left.set()


@pytest.fixture(scope="module")
def endless() -> Endless:
    return Endless()


@pytest.fixture(scope="module")
def pinging(tmp_path_factory: pytest.TempPathFactory, model: Model, endless: Endless) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url, "ENDLESS_URL": endless.url}
    with up(tmp_path_factory.mktemp("pinging"), environ=environ, config=QUICK, arguments=ONE_WORKER) as running:
        yield running


def read(stack: Stack, text: str, **more: object) -> tuple[httpx.Response, list[Json]]:
    with streaming(stack, text, **more) as answer:
        return answer, list(events(answer))


def test_a_complete_stream(stack: Stack) -> None:
    answer, found = read(stack, f"demo: say {TEXT}")
    deltas = [kind for kind in kinds(found) if kind == "content_block_delta"]
    before, after = ["message_start", "content_block_start"], ["content_block_stop", "message_delta", "message_stop"]
    assert kinds(found) == [*before, *deltas, *after] and len(deltas) > 2
    assert said(found) == TEXT
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert found[0]["message"]["model"] == "claude-x" and found[-2]["delta"]["stop_reason"] == "end_turn"
    record = stack.record(answer)
    usage = found[-2]["usage"]
    assert record["gen_ai.usage.input_tokens"] == usage["input_tokens"] > 0
    assert record["gen_ai.usage.output_tokens"] == usage["output_tokens"] > 0
    assert (record["reason"], record["gen_ai.response.finish_reasons"]) == (None, "end_turn")
    assert 0 < record["gen_ai.server.time_to_first_token"] * 1000 <= record["duration"] + 1


def test_blocks_of_tool_calls_never_overlap(stack: Stack) -> None:
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b")]
    _, found = read(stack, 'demo: say hm\ndemo: call a {"x": 1}\ndemo: call b {"y": "0123456789"}', tools=tools)
    marks = [(event["type"], event["index"]) for event in found if "index" in event]
    changes = [mark for mark in marks if mark[0] != "content_block_delta"]
    assert changes == [(f"content_block_{edge}", index) for index in range(3) for edge in ("start", "stop")]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_truncated_stream_ends_in_an_error(stack: Stack) -> None:
    answer, found = read(stack, f"demo: say {TEXT}\ndemo: truncate")
    assert answer.status_code == 200 and "message_stop" not in kinds(found)
    assert found[-1]["type"] == "error" and found[-1]["error"]["type"] == "api_error"
    assert TEXT.startswith(said(found)) and said(found)
    record = stack.record(answer)
    assert (record["reason"], record["error"], record["http.status"]) == ("Truncated", "truncated", 200)


@pytest.mark.parametrize("slow", ["", "\ndemo: slow 40"], ids=["at once", "in mid-stream"])
def test_a_connection_that_breaks_is_never_a_complete_message(stack: Stack, slow: str) -> None:
    found: list[Json] = []
    with streaming(stack, f"demo: say {TEXT}\ndemo: reset{slow}") as answer:
        with contextlib.suppress(httpx.RemoteProtocolError):
            found.extend(events(answer))
            assert answer.status_code == 502 or found[-1]["type"] == "error"
        assert "message_stop" not in kinds(found)
    record = stack.record(answer)
    assert record["reason"] in ("Truncated", "Upstream") and record["http.status"] == answer.status_code


FAILURES = {
    "fail 400": (400, "invalid_request_error", "Upstream"),
    "fail 429": (429, "rate_limit_error", "Upstream"),
    "fail 500": (500, "api_error", "Upstream"),
    "fail 503": (529, "overloaded_error", "Upstream"),
    "fail 504": (504, "timeout_error", "UpstreamTimeout"),
    "html": (502, "api_error", "Upstream"),
}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("script", FAILURES)
def test_what_fails_before_the_first_event_has_a_true_status(stack: Stack, script: str, streamed: bool) -> None:
    status, kind, reason = FAILURES[script]
    answer = stack.call(prompt(f"demo: {script}", stream=streamed))
    _, record = refused(stack, answer, status, kind)
    assert record["reason"] == reason and record["error"]


def test_a_plain_answer_cut_short_is_an_error(stack: Stack) -> None:
    answer = stack.call(prompt(f"demo: say {TEXT}\ndemo: truncate"))
    _, record = refused(stack, answer, 502, "api_error")
    assert (record["reason"], record["error"]) == ("Upstream", "unreadable_answer")


def test_a_plain_answer_becomes_events(stack: Stack) -> None:
    answer, found = read(stack, f"demo: json\ndemo: say {TEXT}")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert said(found) == TEXT and kinds(found)[-1] == "message_stop"


def test_who_asks_for_no_stream_gets_none(stack: Stack) -> None:
    answer = stack.call(prompt(f"demo: say {TEXT}", stream=False))
    assert answer.headers["content-type"] == "application/json" and text_of(answer.json()) == TEXT


def test_pings_while_the_model_is_silent(pinging: Stack) -> None:
    answer, found = read(pinging, "demo: say one two three four\ndemo: slow 450")
    assert kinds(found).count("ping") >= 3
    assert [kind for kind in kinds(found) if kind != "ping"][-1] == "message_stop"
    assert said(found) == "one two three four"
    assert pinging.record(answer)["reason"] is None


def test_an_error_after_pings_is_an_event(pinging: Stack) -> None:
    """The status has gone out with the first ping."""
    answer, found = read(pinging, "demo: say one two three four five six\ndemo: slow 500\ndemo: truncate")
    assert answer.status_code == 200 and "ping" in kinds(found)
    assert kinds(found)[-1] == "error" and "message_stop" not in kinds(found)
    assert pinging.record(answer)["reason"] == "Truncated"


def test_the_status_goes_out_in_time_and_a_client_that_leaves_takes_the_call_with_it(
    pinging: Stack, endless: Endless
) -> None:
    with streaming(pinging, "hello", model="endless") as answer:
        assert answer.status_code == 200 and not endless.speak.is_set()
        endless.speak.set()
        found = events(answer)
        assert "ping" in (event["type"] for event in found)
        assert not endless.left.is_set()
    assert endless.left.wait(SECONDS)
    record = pinging.record(answer)
    assert (record["reason"], record["http.status"], record["flags"]) == ("ClientClosed", 200, "DC")
