"""Connections that are opened to be in the way, and streams that are opened to be reset."""

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import psutil
import pytest

from bench import attack
from tests.certificates import certificate
from tests.e2e import wire
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Model, Stack, prompt, up

CONNECTIONS = 60
EARLY_RESETS = 20
FEW = GATEWAY + f"limits: {{connections: {CONNECTIONS}, early_resets: {EARLY_RESETS}}}\n"
BRIEF = GATEWAY + "limits: {idle_connection_seconds: 1}\n"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("few")
    with up(folder, environ={"MODEL_URL": model.url}, config=FEW, arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("usual")
    with up(folder, environ={"MODEL_URL": model.url}, arguments=ONE_WORKER) as running:
        yield running


def until_served(url: str, token: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            headers = {"authorization": f"Bearer {token}"}
            answer = httpx.post(f"{url}/v1/messages", json=prompt("hello"), headers=headers, verify=False)
            assert answer.status_code == 200
            return
        assert time.monotonic() < deadline, "no connection was taken"
        time.sleep(0.05)


def test_idle_connections_lock_nobody_out(few: Stack) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(CONNECTIONS):
            held.enter_context(wire.connect(few.url))
        until_served(few.url, few.good_token, 10)


def test_headers_that_do_not_end_lock_nobody_out_for_long(few: Stack) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(CONNECTIONS):
            held.enter_context(wire.connect(few.url)).sendall(b"POST /v1/messages HTTP/1.1\r\nhost: g")
        until_served(few.url, few.good_token, 20)


def test_handshakes_that_do_not_end_lock_nobody_out(tmp_path: Path, model: Model) -> None:
    certificate(tmp_path, "localhost")
    config = FEW + "listen: {tls: {certificate: server.pem, key: server.pem}}\n"
    with (
        up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=ONE_WORKER) as stack,
        contextlib.ExitStack() as held,
    ):
        for _ in range(CONNECTIONS):
            held.enter_context(wire.connect(stack.url))
        until_served(stack.url.replace("http:", "https:"), stack.good_token, 10)


def closed(client: socket.socket, seconds: float) -> bool:
    """Within so many seconds."""
    return bool(select.select([client], [], [], seconds)[0]) and client.recv(1) == b""


def test_an_idle_connection_is_closed_and_one_in_use_is_not(tmp_path: Path, model: Model) -> None:
    """Idle is what has no request: a silent answer counts as use, and pauses below the limit do no harm."""
    with (
        up(tmp_path, environ={"MODEL_URL": model.url}, config=BRIEF, arguments=ONE_WORKER) as stack,
        wire.connect(stack.url) as idle,
        httpx.Client(verify=False, timeout=SECONDS) as client,
    ):
        headers = {"authorization": f"Bearer {stack.good_token}"}
        connections = set()
        for text in ("demo: silent 3\ndemo: say hi", "hello", "hello"):
            answer = client.post(f"{stack.url}/v1/messages", json=prompt(text), headers=headers)
            connections.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            assert answer.status_code == 200
            time.sleep(0.2)
        assert len(connections) == 1 and closed(idle, SECONDS)


def processor_streams(stack: Stack) -> int:
    """Calls that the processor has been asked about."""
    family = psutil.Process(stack.process.pid).children(recursive=True)
    envoy = next(process for process in family if process.name().startswith("envoy"))
    transport = httpx.HTTPTransport(uds=f"{envoy.cwd()}/admin.sock", verify=False)
    with httpx.Client(transport=transport) as client:
        text = client.get("http://admin/stats?filter=http.gateway.ext_proc.streams_started").text
    return int(text.split(": ")[1])


def test_streams_that_are_reset_at_once_hardly_reach_the_processor(usual: Stack) -> None:
    """Two hundred, sent in one piece: as many streams to the processor they would be."""
    before = processor_streams(usual)
    with wire.connect(usual.url) as client:
        client.sendall(attack.PREFACE + attack.opened_and_reset(1, 200) + PING)
        until_answered(client)
    assert usual.call(prompt("hello")).status_code == 200
    assert 0 < processor_streams(usual) - before < 50


PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"12345678"


def until_answered(client: socket.socket) -> None:
    """The PING: all that was sent before it has been read."""
    received = b""
    while b"12345678" not in received:
        piece = client.recv(1 << 16)
        assert piece
        received += piece


def answered_within(stack: Stack, seconds: float) -> int:
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        assert stack.call(prompt("demo: say hi")).status_code == 200
        count += 1
    return count


def test_rapid_resets_leave_room_for_others(usual: Stack) -> None:
    """More than a tenth of what is answered without them; before the repair it was a twentieth."""
    quiet = answered_within(usual, 3)
    port = usual.url.rpartition(":")[2]
    attacker = subprocess.Popen([sys.executable, "-m", "bench.attack", "resets", port, "4"])
    try:
        assert answered_within(usual, 3) > quiet / 10
    finally:
        assert attacker.wait(SECONDS) == 0


class Canceller:
    """A client that asks and cancels, on one HTTP/2 connection."""

    def __init__(self, stack: Stack, client: socket.socket) -> None:
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._client = client
        self._fields = [(":method", "POST"), (":path", "/v1/messages"), (":scheme", "http"), (":authority", "gateway")]
        self._fields += [("authorization", f"Bearer {stack.good_token}"), ("content-type", "application/json")]
        self._http.initiate_connection()

    def cancels(self, times: int) -> None:
        """Each call is sent whole, and cancelled in its first second, before it is answered."""
        for _ in range(times):
            stream = self._ask("demo: silent 5")
            self._http.reset_stream(stream, 8)
            self._send()
            time.sleep(0.005)

    def asks_after(self, cancelled: int) -> int:
        self.cancels(cancelled)
        return self.asks()

    def asks(self) -> int:
        """The status. Raises ConnectionError when the connection has been closed."""
        stream = self._ask("demo: say hi")
        status = 0
        while True:
            data = self._client.recv(1 << 16)
            if not data:
                raise ConnectionError
            for event in self._http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                    status = int({str(name): str(value) for name, value in event.headers}[":status"])
                if isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    return status

    def _ask(self, text: str) -> int:
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(stream, self._fields)
        self._http.send_data(stream, json.dumps(prompt(text)).encode(), end_stream=True)
        self._send()
        return stream

    def _send(self) -> None:
        self._client.sendall(self._http.data_to_send())


def test_a_client_that_cancels_much_is_not_cut(usual: Stack) -> None:
    """Four hundred calls of one connection, which 500 would close."""
    with wire.connect(usual.url) as client:
        canceller = Canceller(usual, client)
        canceller.cancels(400)
        assert canceller.asks() == 200


def test_where_a_connection_is_cut_that_only_cancels(few: Stack) -> None:
    with wire.connect(few.url) as client:
        canceller = Canceller(few, client)
        canceller.cancels(EARLY_RESETS - 1)
        assert canceller.asks() == 200
    with wire.connect(few.url) as client:
        canceller = Canceller(few, client)
        with pytest.raises(ConnectionError):
            canceller.asks_after(2 * EARLY_RESETS)


def test_cancelling_less_than_half_is_never_too_much(few: Stack) -> None:
    with wire.connect(few.url) as client:
        canceller = Canceller(few, client)
        for _ in range(2 * EARLY_RESETS):
            assert canceller.asks() == 200
        canceller.cancels(2 * EARLY_RESETS - 5)
        assert canceller.asks() == 200
