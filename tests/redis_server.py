"""A real Redis server on a free port of loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e.stack import free_port

SECONDS = 10.0
BINARIES = ("redis-server", "valkey-server")


def binary() -> str:
    found = next(filter(None, map(shutil.which, BINARIES)), None)
    if found is None and os.environ.get("TOOLS") != "required":
        pytest.skip("there is no redis-server on this machine: the shared store is not tested")
    assert found is not None, "TOOLS=required, and there is no redis-server"
    return found


class RedisServer:
    def __init__(self, folder: Path, options: Sequence[str], *, tls: bool = False) -> None:
        self.port = free_port()
        self.folder = folder
        self.scheme = "rediss" if tls else "redis"
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._argv = [binary(), *ports, "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None and time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None


@contextlib.contextmanager
def redis_server(folder: Path, *options: str, tls: bool = False) -> Iterator[RedisServer]:
    server = RedisServer(folder, options, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
