"""What a health check asks a processor, against gRPC's own health service."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health as service
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.cli import main
from extproc.server import health

Status = health_pb2.HealthCheckResponse


@pytest.fixture
def status() -> service.HealthServicer:
    return service.HealthServicer()


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path, status: service.HealthServicer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    place = f"unix:{tmp_path}/p.sock" if request.param == "unix" else "127.0.0.1:0"
    port = server.add_insecure_port(place)
    server.start()
    yield place if request.param == "unix" else f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.mark.parametrize(
    ("said", "expected"), [(Status.SERVING, True), (Status.NOT_SERVING, False), (Status.UNKNOWN, False)]
)
def test_what_it_says(address: str, status: service.HealthServicer, said: int, expected: bool) -> None:
    status.set("", said)
    assert health.serves(address) is expected
    assert main(["health", "--processor", address]) == (0 if expected else 1)


def test_a_server_that_knows_no_such_service(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(f"unix:{tmp_path}/p.sock")
    server.start()
    assert not health.serves(f"unix:{tmp_path}/p.sock")
    server.stop(0).wait()


def test_nobody_there(tmp_path: Path) -> None:
    assert not health.serves(f"unix:{tmp_path}/none.sock")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not health.serves(f"127.0.0.1:{bound.getsockname()[1]}")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0\1\0\0\0\1"])
def test_somebody_else(answer: bytes) -> None:
    """Who hangs up, who speaks HTTP/1, who ends the call without a message."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        assert not health.serves(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not health.serves(f"127.0.0.1:{server.getsockname()[1]}")
