"""Whatever clients and providers do, Envoy's memory has a bound, and who is refused for it reads so."""

import contextlib
import json
import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.e2e import wire
from tests.e2e.raw_provider import FINE, SAID, STREAM, Connection, Play, RawProvider
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, prompt, up

MB = 1_000_000
BOUND = 256 * 1024 * 1024
# Workers would take on everything: it is Envoy that must refuse.
BOUNDED = GATEWAY + f"limits: {{memory_bytes: {BOUND}, streams_per_connection: 7, body_bytes: {1 << 40}}}\n"
FEW = GATEWAY.replace("api_key: {env: MODEL_KEY}}", "api_key: {env: MODEL_KEY}, limits: {requests: 1}, retries: off}")
FEW += "limits: {connections: 4}\nroutes: [{path: '/raw*', serve: passthrough, provider: openai}]\n"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, provider: RawProvider) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("few"), environ={"MODEL_URL": provider.url}, config=FEW) as running:
        yield running


@pytest.fixture
def bounded(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("bounded"), environ={"MODEL_URL": model.url}, config=BOUNDED) as running:
        yield running


def envoys(stack: Stack) -> psutil.Process:
    family = psutil.Process(stack.process.pid).children(recursive=True)
    return next(process for process in family if process.name().startswith("envoy"))


def large(stack: Stack, size: int) -> bytes:
    body = json.dumps(prompt("x" * size)).encode()
    return wire.request(f"authorization: Bearer {stack.good_token}", body=body)


def until_it_works(stack: Stack) -> None:
    deadline = time.monotonic() + SECONDS
    while (answer := stack.call(prompt("demo: say hi"))).status_code != 200:
        assert time.monotonic() < deadline and answer.status_code == 503
        time.sleep(0.02)


def fill(stack: Stack, held: contextlib.ExitStack) -> httpx.Response:
    """Uploads that do not come to an end, until somebody else is refused."""
    request = large(stack, 10 * MB)
    while True:
        # It may be this one that is refused.
        with contextlib.suppress(ConnectionError):
            held.enter_context(wire.connect(stack.url)).sendall(request[: 4 * MB])
        answer = stack.call(prompt("demo: say hi"))
        if answer.status_code != 200:
            return answer


def test_near_the_bound_new_calls_are_refused(bounded: Stack) -> None:
    """And are told when to come again."""
    with contextlib.ExitStack() as held:
        answer = fill(bounded, held)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["type"] == "overloaded_error"
        line = bounded.record_where(lambda line: line["http.status"] == 503)
        assert (line["error"], line["reason"]) == ("overload", "Overloaded")
        chat = bounded.call(prompt("demo: say hi"), path="/v1/chat/completions")
        assert (chat.status_code, chat.headers["retry-after"]) == (503, "1")
        assert chat.json()["error"]["code"] == "server_is_overloaded"
    until_it_works(bounded)


CLIENTS = int(os.environ.get("FLOOD_CLIENTS", "100"))


def test_a_flood_of_bodies_stays_below_the_bound(bounded: Stack) -> None:
    """Many clients send 10 MB each, by turns and as fast as they can: four times what there is room for, and more."""
    request, envoy, most = large(bounded, 10 * MB), envoys(bounded), 0
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(CLIENTS):
            client = stack.enter_context(wire.connect(bounded.url))
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, [0])
        while selector.get_map():
            for key, ready in selector.select(SECONDS):
                if not _goes_on(key, ready, request):
                    selector.unregister(key.fileobj)
            most = max(most, envoy.memory_info().rss)
    assert 0 < most < BOUND
    bounded.out.says('"overload"')
    refused = [json.loads(line) for line in bounded.out.seen if line.startswith("{") and '"overload"' in line]
    assert refused and {(line["http.status"], line["reason"]) for line in refused} == {(503, "Overloaded")}
    until_it_works(bounded)


def _goes_on(key: selectors.SelectorKey, ready: int, request: bytes) -> bool:
    """Sends some more, unless the gateway has answered or gone. `key.data`: how much has been sent."""
    client, sent = key.fileobj, key.data
    assert isinstance(client, socket.socket)
    try:
        if ready & selectors.EVENT_READ:
            return False
        sent[0] += client.send(request[sent[0] : sent[0] + 16_384])
    except BlockingIOError:
        pass
    except ConnectionError:
        return False
    return True


def pours(most: int, stuck: threading.Event, poured: list[int]) -> Play:
    """A stream without end, as quickly as it is taken; `stuck` when nobody takes any more."""

    def play(connection: Connection) -> None:
        connection.say(STREAM)
        connection.socket.setblocking(False)
        while poured[0] < most and select.select([], [connection.socket], [], 1)[1]:
            poured[0] += connection.socket.send(SAID.replace(b"hm ", b"x" * 4000))
        stuck.set()
        connection.socket.setblocking(True)
        connection.until_left()

    return play


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/raw/x"])
def test_a_slow_reader_costs_no_memory(few: Stack, provider: RawProvider, path: str) -> None:
    """What it does not read is not asked for: the provider itself is held up."""
    stuck, poured = threading.Event(), [0]
    provider.plays(pours(200 * MB, stuck, poured))
    before = envoys(few).memory_info().rss
    with wire.connect(few.url) as client:
        body = json.dumps(prompt("hello", stream=True)).encode()
        client.sendall(wire.request(f"authorization: Bearer {few.good_token}", target=path, body=body))
        assert stuck.wait(SECONDS)
        assert 0 < poured[0] < 60 * MB
        assert envoys(few).memory_info().rss - before < 60 * MB
    assert provider.left.wait(SECONDS)


def test_a_provider_that_has_enough_to_do(few: Stack, provider: RawProvider) -> None:
    asked = threading.Event()

    def waits(connection: Connection) -> None:
        asked.set()
        connection.until_left()

    provider.plays(waits, FINE)
    with wire.connect(few.url) as client:
        client.sendall(large(few, 10))
        assert asked.wait(SECONDS)
        for path, status in (("/v1/messages", 529), ("/v1/chat/completions", 503)):
            answer = few.call(prompt("hello"), path=path)
            assert answer.status_code == status
            assert few.record(answer)["reason"] == "UpstreamUnavailable"
    assert provider.left.wait(SECONDS)
    assert few.call(prompt("hello")).status_code == 200 and len(provider.bodies) == 2


def until_there_is_room(stack: Stack) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            assert stack.call(prompt("hello")).status_code == 200
            return
    pytest.fail("no connection was taken")


def test_too_many_connections(few: Stack, provider: RawProvider) -> None:
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(wire.connect(few.url)) for _ in range(6)]
        ended = select.select(clients, [], [], SECONDS)[0]
        assert ended and not set(ended) & set(clients[:2])
        with contextlib.suppress(ConnectionError):
            assert ended[0].recv(1) == b""
    provider.plays(FINE)
    until_there_is_room(few)


SETTINGS, MAX_CONCURRENT_STREAMS = 4, b"\x00\x03"


def test_streams_of_one_connection(bounded: Stack) -> None:
    with wire.connect(bounded.url) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]))
        frame = client.recv(1 << 16)
    length = int.from_bytes(frame[:3])
    assert frame[3] == SETTINGS
    pairs = [frame[at : at + 6] for at in range(9, 9 + length, 6)]
    assert {pair[:2]: int.from_bytes(pair[2:]) for pair in pairs}[MAX_CONCURRENT_STREAMS] == 7
