"""A client that fails or means ill: it costs the provider's call, itself, and nobody else anything."""

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e import wire
from tests.e2e.raw_provider import FINE, SAID, STREAM, Connection, RawProvider, goes_silent
from tests.e2e.refusals import PROMPT, never_asked, refused
from tests.e2e.sse import events, streaming
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Model, Stack, prompt, up
from tests.e2e.test_bad_input import GOOD

HASTY = GATEWAY + "limits: {request_seconds: 1}\n"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, provider: RawProvider) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("clients"), environ={"MODEL_URL": provider.url}, arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with up(
        tmp_path_factory.mktemp("hasty"), environ={"MODEL_URL": model.url}, config=HASTY, arguments=ONE_WORKER
    ) as running:
        yield running


def ask(stack: Stack, body: bytes = GOOD, *more: str) -> bytes:
    return wire.request(f"authorization: Bearer {stack.good_token}", *more, body=body)


def works(stack: Stack, provider: RawProvider) -> None:
    provider.plays(FINE)
    assert stack.call(prompt("hello")).status_code == 200


def test_abort_before_the_answer(raw: Stack, provider: RawProvider) -> None:
    """The provider hears of it although it has not said a word; it is not asked again."""
    asked = threading.Event()

    def waits(connection: Connection) -> None:
        asked.set()
        connection.until_left()

    provider.plays(waits)
    with wire.connect(raw.url) as client:
        client.sendall(ask(raw))
        assert asked.wait(SECONDS) and not provider.left.is_set()
    assert provider.left.wait(SECONDS) and len(provider.bodies) == 1
    assert raw.record_where(lambda line: line["flags"] == "DC")["reason"] == "ClientClosed"
    works(raw, provider)


def test_abort_in_mid_sse(raw: Stack, provider: RawProvider) -> None:
    provider.plays(goes_silent(STREAM + SAID))
    with streaming(raw, "hello") as answer:
        heard = events(answer)  # httpx closes the connection when the iterator is let go
        assert next(heard)["type"] == "message_start"
        assert not provider.left.is_set()
    assert provider.left.wait(SECONDS)
    assert raw.record(answer)["reason"] == "ClientClosed"
    works(raw, provider)


def test_abort_in_a_stream_of_ones_own_dialect(raw: Stack, provider: RawProvider) -> None:
    """The provider has not said what it cost; the record has an estimate."""
    provider.plays(goes_silent(STREAM + SAID * 7))
    body = {**prompt("hello", model="gpt-x"), "stream": True}
    headers = {"authorization": f"Bearer {raw.good_token}"}
    with httpx.stream("POST", f"{raw.url}/v1/chat/completions", json=body, headers=headers, verify=False) as answer:
        pieces = answer.iter_lines()
        assert "hm " in next(pieces)
    assert provider.left.wait(SECONDS)
    record = raw.record(answer)
    assert record["reason"] == "ClientClosed"
    assert record["gen_ai.usage.input_tokens"] > 10 and record["gen_ai.usage.output_tokens"] == 7


def test_half_sent_body(stack: Stack, model: Model) -> None:
    with never_asked(model), wire.connect(stack.url) as client:
        client.sendall(ask(stack)[:-10])
        client.shutdown(socket.SHUT_RDWR)
        line = stack.record_where(lambda line: line["flags"] == "DC")
    assert line["reason"] == "ClientClosed"
    assert stack.call(prompt("demo: say hi")).status_code == 200


def test_headers_of_100_kb(stack: Stack, model: Model) -> None:
    with never_asked(model):
        answer = stack.call(GOOD, headers={"x-large": "x" * 100_000})
    assert (answer.status_code, answer.json()["error"]["type"]) == (431, "invalid_request_error")
    line = stack.record_where(lambda line: line["http.status"] == 431)
    assert line["reason"] == "InvalidRequest"
    assert stack.call(prompt("demo: say hi")).status_code == 200


@pytest.mark.parametrize("sent", [20, -10], ids=["in the headers", "in the body"])
def test_slow_loris(hasty: Stack, model: Model, sent: int) -> None:
    """The half of a request, and then nothing for longer than a whole one may take."""
    with never_asked(model), wire.connect(hasty.url) as client:
        client.sendall(ask(hasty)[:sent])
        answer = wire.read(client)
    assert (answer.status_code, answer.json()["error"]["type"]) == (408, "invalid_request_error")
    assert hasty.record_where(lambda line: line["http.status"] == 408)["reason"] == "InvalidRequest"
    assert hasty.call(prompt("demo: say hi")).status_code == 200


def test_a_long_answer_is_no_slow_request(hasty: Stack) -> None:
    answer = hasty.call(prompt("demo: silent 1.5\ndemo: say hi"))
    assert answer.status_code == 200


def test_pipelining(stack: Stack) -> None:
    """Three requests at once on one connection; the answers come in their order, each to its own."""
    sent = b"".join(
        ask(stack, httpx.Request("POST", "http://x", json=prompt(f"demo: say {word}")).content) for word in "abc"
    ).replace(b"connection: close\r\n", b"", 2)
    with wire.connect(stack.url) as client:
        client.sendall(sent)
        received = b""
        while piece := client.recv(1 << 16):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert [received.index(b'"text":"%b"' % word) for word in (b"a", b"b", b"c")] == sorted(
        received.index(b'"text":"%b"' % word) for word in (b"a", b"b", b"c")
    )


def test_expect_100_continue(stack: Stack) -> None:
    head, _, body = ask(stack, GOOD, "expect: 100-continue").partition(b"\r\n\r\n")
    with wire.connect(stack.url) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 Continue\r\n")
        client.sendall(body)
        assert wire.read(client).status_code == 200


def test_http_2(stack: Stack) -> None:
    """Many at once on one connection, one of them refused, none mistaken for another."""
    headers = {"authorization": f"Bearer {stack.good_token}"}
    with httpx.Client(http1=False, http2=True, verify=False, timeout=SECONDS) as client:
        for body, status in ((prompt("demo: say hi"), 200), (prompt("hello", model="nobody"), 404)):
            answer = client.post(f"{stack.url}/v1/messages", json=body, headers=headers)
            assert (answer.http_version, answer.status_code) == ("HTTP/2", status)
        refusal = client.post(f"{stack.url}/v1/messages", json=prompt(PROMPT))
        refused(stack, refusal, 401, "authentication_error")
