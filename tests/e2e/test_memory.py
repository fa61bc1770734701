"""Whatever clients and providers do, Envoy's memory has a bound, and who is refused for it reads so."""

import contextlib
import json
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
BOUNDED = GATEWAY + f"limits: {{memory_bytes: {BOUND}, streams_per_connection: 7}}\n"
FEW = GATEWAY.replace("api_key: {env: MODEL_KEY}}", "api_key: {env: MODEL_KEY}, limits: {requests: 1}, retries: off}")
FEW += "limits: {connections: 4}\nroutes: [{path: '/raw*', serve: passthrough, provider: openai}]\n"


@pytest.fixture(scope="module")
def provider() -> Iterator[RawProvider]:
    with RawProvider().serving() as running:
        yield running


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


def test_near_the_bound_new_calls_are_refused(bounded: Stack) -> None:
    """Uploads that do not come to an end fill the memory; whoever comes now is told when to come again."""
    request = large(bounded, 10 * MB)
    with contextlib.ExitStack() as held:
        for _ in range(60):
            client = held.enter_context(wire.connect(bounded.url))
            client.sendall(request[: 4 * MB])
            answer = bounded.call(prompt("demo: say hi"))
            if answer.status_code != 200:
                break
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["type"] == "overloaded_error"
        line = bounded.record_where(lambda line: line["http.status"] == 503)
        assert (line["error"], line["reason"]) == ("overload", "Overloaded")
        chat = bounded.call(prompt("demo: say hi"), path="/v1/chat/completions")
        assert (chat.status_code, chat.headers["retry-after"]) == (503, "1")
        assert chat.json()["error"]["code"] == "server_is_overloaded"
    until_it_works(bounded)


CLIENTS = 100


def test_a_flood_of_slow_bodies_stays_below_the_bound(bounded: Stack) -> None:
    """A hundred clients send 10 MB each, in pieces and by turns: four times what there is room for."""
    request, envoy = large(bounded, 10 * MB), envoys(bounded)
    before, slowness = envoy.memory_info().rss, threading.Event()
    most, ended = 0, 0
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        left = dict.fromkeys((stack.enter_context(wire.connect(bounded.url)) for _ in range(CLIENTS)), 0)
        for client in left:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while left:
            for key, ready in selector.select(SECONDS):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if (sent := _send(client, request, left[client], ready)) is None:
                    selector.unregister(client)
                    del left[client]
                    ended += 1
                else:
                    left[client] = sent
            most = max(most, envoy.memory_info().rss)
            slowness.wait(0.01)
    assert ended == CLIENTS and most - before < BOUND
    refused = [json.loads(line) for line in bounded.out.seen if line.startswith("{") and '"overload"' in line]
    assert refused and {line["http.status"] for line in refused} == {503}
    until_it_works(bounded)


def _send(client: socket.socket, request: bytes, sent: int, ready: int) -> int | None:
    """How much has been sent now; None: the gateway has answered or gone."""
    try:
        if ready & selectors.EVENT_READ:
            client.recv(1 << 16)
            return None
        return sent + client.send(request[sent : sent + 16_384])
    except BlockingIOError:
        return sent
    except ConnectionError:
        return None


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
