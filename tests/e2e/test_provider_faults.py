"""A provider that fails: the caller reads a true status in its own dialect or sees the stream end in an error, what is
known of the usage is on record, and the next call works."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.raw_provider import (
    CHAT,
    ENDED,
    FINE,
    SAID,
    STREAM,
    USED,
    Connection,
    Play,
    RawProvider,
    goes_silent,
    head,
    resets,
    says,
    whole,
)
from tests.e2e.stack import GATEWAY, Stack, free_port, prompt, up

CONFIG = GATEWAY.replace(
    "models:",
    """  nobody: {dialects: [chat], base_url: "http://127.0.0.1:${PORT}/v1"}
  nowhere: {dialects: [chat], base_url: "http://nowhere.invalid/v1"}
routes:
  - {path: "/raw*", serve: passthrough, provider: openai}
  - {path: "/nobody*", serve: passthrough, provider: nobody}
models:
  - {name: nobody, provider: nobody}
  - {name: nowhere, provider: nowhere}""",
).replace(
    "api_key: {env: MODEL_KEY}}",
    "api_key: {env: MODEL_KEY}, timeouts: {connect: 1, first_byte: 0.6, idle: 0.8, total: 2.5}, retries: off}",
)
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
OVERLOADED, TIMEOUT, API = "overloaded_error", "timeout_error", "api_error"
# What a Chat client reads where a Messages client reads this.
CHAT_WORDS = {
    (529, OVERLOADED): (503, "service_unavailable_error"),
    (504, TIMEOUT): (504, "server_error"),
    (502, API): (502, "server_error"),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: RawProvider) -> Iterator[Stack]:
    environ = {"MODEL_URL": provider.url, "PORT": str(free_port())}
    with up(tmp_path_factory.mktemp("faults"), environ=environ, config=CONFIG) as running:
        yield running


@pytest.fixture(autouse=True)
def _the_next_call_works(stack: Stack, provider: RawProvider) -> Iterator[None]:
    yield
    provider.plays(FINE)
    assert stack.call(prompt("hello")).status_code == 200


def slow(*pieces: bytes, seconds: float) -> Play:
    def play(connection: Connection) -> None:
        for piece in pieces:
            connection.say(piece)
            connection.pause(seconds)

    return play


def failure(status: str, *fields: str) -> bytes:
    return whole(b'{"error":{"message":"no","type":null,"code":null}}', *fields, status=status)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


SSE = head("transfer-encoding: chunked", "connection: close", media="text/event-stream")
UNREADABLE = (502, API, "Upstream")
CUT = (502, API, "Truncated")
EMPTY = (502, API, "Truncated or Upstream")


@dataclass(frozen=True)
class Fault:
    play: Play | bytes
    status: int
    kind: str
    reason: str


# Before the client has got a byte: whole answers and streams alike.
BEFORE: dict[str, Fault] = {
    "reset before headers": Fault(resets(), 529, OVERLOADED, "UpstreamUnavailable"),
    "closed before headers": Fault(b"", 529, OVERLOADED, "UpstreamUnavailable"),
    "silent before headers": Fault(goes_silent(), 504, TIMEOUT, "UpstreamTimeout"),
    "silent after headers": Fault(goes_silent(STREAM), 504, TIMEOUT, "UpstreamTimeout"),
    "silent in JSON body": Fault(goes_silent(FINE[:-20]), 504, TIMEOUT, "UpstreamTimeout"),
    "JSON body that takes too long": Fault(
        slow(*(FINE[n : n + 20] for n in range(0, len(FINE), 20)), seconds=0.3), 504, TIMEOUT, "UpstreamTimeout"
    ),
    "reset in JSON body": Fault(resets(FINE[:-20]), *CUT),
    "no HTTP": Fault(b"SSH-2.0-OpenSSH_9.6\r\n", 502, API, "Upstream"),
    "HTML 200": Fault(whole(b"<html>hello</html>", media="text/html"), *UNREADABLE),
    "empty 200": Fault(whole(b""), *EMPTY),
    "empty 200, chunked": Fault(head("transfer-encoding: chunked") + b"0\r\n\r\n", *EMPTY),
    "empty 200, stream": Fault(STREAM, *EMPTY),
    "gzip though told identity": Fault(whole(gzip.compress(CHAT), "content-encoding: gzip"), *UNREADABLE),
    "wrong content-length, too long": Fault(head("content-length: 9999") + CHAT, *CUT),
    "wrong content-length, too short": Fault(head("content-length: 50", "connection: close") + CHAT, *UNREADABLE),
}


def told(answer: httpx.Response, client: str, fault: Fault) -> None:
    """A refusal in the client's own words."""
    expected = (fault.status, fault.kind)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (CHAT_WORDS[expected] if client == "chat" else expected), answer.text
    assert error.keys() == ({"message", "type", "param", "code"} if client == "chat" else {"message", "type"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("name", BEFORE)
def test_before_the_answer(stack: Stack, provider: RawProvider, name: str, client: str, stream: bool) -> None:
    fault = BEFORE[name]
    provider.plays(fault.play)
    answer = stack.call(prompt("hello", stream=stream), path=PATHS[client])
    told(answer, client, fault)
    record = stack.record(answer)
    assert record["reason"] in fault.reason.split(" or ") and record["error"]
    assert record["http.status"] == answer.status_code


# The provider says so itself; a client of its own dialect gets its very words.
SAYS_SO: dict[str, Fault] = {
    "429": Fault(failure("429 Too Many Requests"), 429, "rate_limit_error", "Upstream"),
    "500": Fault(failure("500 Internal Server Error"), 500, API, "Upstream"),
    "503": Fault(failure("503 Service Unavailable"), 529, OVERLOADED, "Upstream"),
    "529": Fault(failure("529 Overloaded"), 529, OVERLOADED, "Upstream"),
    "silent in the body of a 500": Fault(goes_silent(failure("500 Internal Server Error")[:-9]), 500, API, "Upstream"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", SAYS_SO)
def test_a_providers_own_error(stack: Stack, provider: RawProvider, name: str, stream: bool) -> None:
    fault = SAYS_SO[name]
    provider.plays(fault.play)
    answer = stack.call(prompt("hello", stream=stream))
    told(answer, "messages", fault)
    assert stack.record(answer)["reason"] == fault.reason
    passed = stack.call(prompt("hello", stream=stream), path=PATHS["chat"])
    assert passed.status_code == int(name[-3:]) and passed.json()["error"].keys() >= {"message", "type", "code"}
    assert len(provider.bodies) == 2


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("model", ["nobody", "nowhere"], ids=["no listener", "no address"])
def test_refused(stack: Stack, client: str, model: str) -> None:
    answer = stack.call(prompt("hello", model=model), path=PATHS[client])
    told(answer, client, Fault(b"", 529, OVERLOADED, ""))
    assert stack.record(answer)["reason"] == "UpstreamUnavailable"


# Another media type than the body's own: what the body is decides.
MISNAMED: dict[str, tuple[bytes, bool]] = {
    "JSON called text": (whole(CHAT, media="text/plain"), False),
    "JSON called nothing": (FINE.replace(b"content-type: application/json\r\n", b""), False),
    "stream called JSON": (head("connection: close") + SAID + ENDED, True),
    "JSON called stream": (whole(CHAT, media="text/event-stream"), True),
}


@pytest.mark.parametrize("name", MISNAMED)
def test_wrong_content_type(stack: Stack, provider: RawProvider, name: str) -> None:
    """Read for what it is or refused; never an answer without its text."""
    play, stream = MISNAMED[name]
    provider.plays(play)
    answer = stack.call(prompt("hello", stream=stream))
    if answer.status_code == 200:
        assert ("hi" in answer.text or "hm " in answer.text) and "end_turn" in answer.text
    else:
        told(answer, "messages", Fault(b"", *UNREADABLE))


# After the client has got the first event. A connection that breaks may take the client's with it.
AMID: dict[str, tuple[Play, str]] = {
    "closed in mid-SSE": (says(STREAM + USED + SAID), "Truncated"),
    "reset in mid-SSE": (resets(SSE + chunked(USED + SAID)), "Truncated"),
    "silent in mid-SSE": (goes_silent(SSE + chunked(USED + SAID)), "UpstreamTimeout"),
    "slow without end": (slow(SSE, *[chunked(USED + SAID)] * 40, seconds=0.3), "UpstreamTimeout"),
    "error in mid-SSE": (says(STREAM + USED + SAID + b'data: {"error":{"message":"no","code":503}}\n\n'), "Upstream"),
}


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("name", AMID)
def test_in_the_midst_of_a_stream(stack: Stack, provider: RawProvider, name: str, client: str) -> None:
    play, reason = AMID[name]
    provider.plays(play)
    seen = read(stack, client)
    assert "hm " in seen.text and len(provider.bodies) == 1
    if seen.broken:
        assert name == "reset in mid-SSE"
    else:
        assert '"error"' in seen.text.strip().splitlines()[-1]
    assert not any(end in seen.text for end in ("message_stop", "[DONE]", '"finish_reason":"stop"'))
    record = stack.record(seen.answer)
    assert (record["reason"], record["http.status"]) == (reason, 200)
    assert record["gen_ai.usage.input_tokens"] == 5 or (client == "chat" and seen.broken)


@dataclass
class Seen:
    answer: httpx.Response
    text: str = ""
    broken: bool = False
    """The connection went before the body was whole."""


def read(stack: Stack, client: str) -> Seen:
    headers = {"authorization": f"Bearer {stack.good_token}"}
    body = prompt("hello", stream=True)
    with httpx.stream(
        "POST", stack.url + PATHS[client], json=body, headers=headers, timeout=20, verify=False
    ) as answer:
        seen = Seen(answer)
        try:
            for piece in answer.iter_text():
                seen.text += piece
        except httpx.RemoteProtocolError:
            seen.broken = True
    return seen


@pytest.mark.parametrize("client", PATHS)
def test_chunks_far_apart_are_no_fault(stack: Stack, provider: RawProvider, client: str) -> None:
    """0.5 s are to this provider's limits what 15 s and more are to the usual ones."""
    pieces = [SSE, *(chunked(part) for part in (SAID, SAID, ENDED)), b"0\r\n\r\n"]
    provider.plays(slow(*pieces, seconds=0.5))
    seen = read(stack, client)
    assert not seen.broken and ("message_stop" in seen.text or "[DONE]" in seen.text)
    assert stack.record(seen.answer)["reason"] is None


PASSED: dict[str, tuple[Play | bytes, int, str | None, str]] = {
    "reset before headers": (resets(), 503, "service_unavailable_error", "UpstreamUnavailable"),
    "silent before headers": (goes_silent(), 504, "server_error", "UpstreamTimeout"),
    "429": (failure("429 Too Many Requests", "retry-after: 9"), 429, None, "Upstream"),
}


@pytest.mark.parametrize("name", PASSED)
def test_passed_through(stack: Stack, provider: RawProvider, name: str) -> None:
    play, status, kind, reason = PASSED[name]
    provider.plays(play)
    answer = stack.call(prompt("hello"), path="/raw/x")
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["type"] == kind
    assert stack.record(answer)["reason"] == reason


def test_passed_through_refused(stack: Stack) -> None:
    answer = stack.call(prompt("hello"), path="/nobody/x")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "service_unavailable_error")
    assert stack.record(answer)["reason"] == "UpstreamUnavailable"


def test_passed_through_broken_off(stack: Stack, provider: RawProvider) -> None:
    provider.plays(resets(head("content-length: 500") + b"{"))
    with pytest.raises(httpx.RemoteProtocolError):
        stack.call(prompt("hello"), path="/raw/broken")
    record = stack.record_where(lambda line: line["http.path"] == "/raw/broken")
    assert (record["reason"], record["http.status"]) == ("Truncated", 200)


def test_passed_through_for_too_long(stack: Stack, provider: RawProvider) -> None:
    provider.plays(slow(head("content-length: 500"), *[b"{"] * 10, seconds=0.5))
    with pytest.raises(httpx.RemoteProtocolError):
        stack.call(prompt("hello"), path="/raw/long")
    record = stack.record_where(lambda line: line["http.path"] == "/raw/long")
    assert (record["reason"], record["http.status"]) == ("UpstreamTimeout", 200)


def test_what_envoy_answers_late_has_the_id_of_the_log(stack: Stack, provider: RawProvider) -> None:
    provider.plays(resets(head("content-length: 500") + b"{"))
    answer = stack.call(prompt("hello"))
    assert answer.status_code == 502
    record = stack.record(answer)
    assert record["request_id"] == answer.headers["request-id"] == answer.json()["request_id"]
