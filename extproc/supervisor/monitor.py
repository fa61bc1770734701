"""What Prometheus, Kubernetes and compose ask of the supervisor by HTTP: `/metrics`, `/livez`, `/readyz`, `/status`."""

import asyncio
import io
import json
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from extproc.config.schema import Asked, Config
from extproc.transport.metrics import OfConfiguration, OfEnvoy, OfReadiness
from extproc.transport.status import Status

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable; it must be set before the library is imported in a worker."""
SECONDS = 5.0

Check = Callable[[], Awaitable[bool]]
Ask = Callable[[], Coroutine[Any, Any, tuple[bool, dict[str, Any]]]]
Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


class CannotListen(Exception):
    """`str()` says where and why."""


class Monitor:
    """`front`: whether Envoy is ready, where it is ours; `workers`: whether each of them serves, by name; `status`: how
    the configuration is doing."""

    def __init__(
        self,
        front: Check | None,
        workers: Mapping[str, Check],
        status: Status,
        left_out: Callable[[], Coroutine[Any, Any, int]] | None = None,
    ) -> None:
        """Within the supervisor's event loop. `left_out`: asks Envoy for the refusals that it has not logged."""
        self._loop = asyncio.get_running_loop()
        self._checks = {**({"envoy": front} if front is not None else {}), **workers}
        self._leaving = False
        self._left_out = left_out
        self._status = status

    def start(self, settings: Config, folder: Path) -> dict[str, str]:
        """Answers from now on; gives the environment for the workers. Raises CannotListen."""
        if settings.health is not None:
            _listen(settings.health, "health", self._health)
        if settings.metrics is None:
            return {}
        folder.mkdir(mode=0o700, exist_ok=True)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        registry.register(OfConfiguration(self._status))
        registry.register(OfEnvoy(self._ask_left_out))
        registry.register(OfReadiness(lambda: self._answer(self._ready)[0]))
        scrape: App = make_wsgi_app(registry)

        def metrics(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
            if environ["PATH_INFO"] not in ("/metrics", "/"):
                return self._health(environ, start)
            _forget_dead(folder)
            return scrape(environ, start)

        _listen(settings.metrics, "metrics", metrics)
        return {FOLDER: str(folder)}

    def leave(self) -> None:
        """From now on nothing new is to be sent here."""
        self._leaving = True

    def _health(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """In a thread of its own: the loop may be stuck, and then this says so."""
        ask = {"/livez": self._live, "/readyz": self._ready, "/status": self._told}.get(environ["PATH_INFO"])
        if ask is None:
            return _answer(start, "404 Not Found", {"status": "not found"})
        good, detail = self._answer(ask)
        return _answer(start, "200 OK" if good else "503 Service Unavailable", detail)

    def _answer(self, ask: Ask) -> tuple[bool, dict[str, Any]]:
        """From a thread; the loop may be stuck."""
        asked = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return asked.result(SECONDS)
        except TimeoutError:
            asked.cancel()
            return False, {"status": "hangs"}

    def _ask_left_out(self) -> int:
        """In the thread of a scrape."""
        if self._left_out is None:
            return 0
        asked = asyncio.run_coroutine_threadsafe(self._left_out(), self._loop)
        try:
            return asked.result(SECONDS)
        except TimeoutError:
            asked.cancel()
            return 0

    async def _live(self) -> tuple[bool, dict[str, Any]]:
        return True, {"status": "live"}

    async def _told(self) -> tuple[bool, dict[str, Any]]:
        return True, self._status.told()

    async def _ready(self) -> tuple[bool, dict[str, Any]]:
        """One worker is enough: Envoy sends calls only to those that serve."""
        found = dict(
            zip(self._checks, await asyncio.gather(*(check() for check in self._checks.values())), strict=True)
        )
        workers = [good for name, good in found.items() if name != "envoy"]
        good = not self._leaving and found.get("envoy", True) and any(workers)
        status = "leaving" if self._leaving else "ready" if good else "not ready"
        detail: dict[str, Any] = {"status": status}
        detail |= {name: "serving" if good else "not serving" for name, good in found.items()}
        if gone := self._status.deleted_key_files:
            detail["deleted_key_files"] = list(gone)  # no reason to take calls away: their keys still count for a while
        return good, detail


def _answer(start: Start, status: str, detail: dict[str, Any]) -> Iterable[bytes]:
    body = json.dumps(detail).encode() + b"\n"
    fields = {"content-type": "application/json", "cache-control": "no-store", "content-length": str(len(body))}
    start(status, list(fields.items()))
    return [body]


def _forget_dead(folder: Path) -> None:
    """Gauges of workers that ended in the middle of a call."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # nobody's, or another's by now
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without the look-up of our own name, which may take as long as a name server likes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "extproc", int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asks may leave without waiting for the answer."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = SECONDS

    def get_stderr(self) -> Any:
        """Of a mistake the caller hears 500, and nobody a stack trace."""
        return io.StringIO()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def _listen(where: Asked, key: str, app: App) -> None:
    kind = _Server6 if ":" in where.address else _Server
    try:
        server = kind((where.address, where.port), _Quiet)
    except OSError as error:
        problem = f"cannot listen on {where.address}:{where.port}: {error.strerror}; see `{key}` in the file"
        raise CannotListen(problem) from None
    server.set_app(app)
    Thread(target=server.serve_forever, daemon=True, name=key).start()
