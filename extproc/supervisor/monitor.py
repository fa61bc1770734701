"""The supervisor's HTTP pages for Prometheus, Kubernetes and people: `/metrics`, `/livez`, `/readyz`, `/status`."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.config.schema import Config
from extproc.config.schema_records import HttpListener
from extproc.store.counters import AccountState
from extproc.store.interface import StoreDown
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.metrics import OfBudgets, OfConfiguration, OfEnvoy, OfLedger, OfProviders, OfReadiness
from extproc.transport.status import Status
from extproc.usage.calls import Counts

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable; it must be set before the library is imported in a worker."""
SECONDS = 5.0

Check = Callable[[], Awaitable[bool]]
Ask = Callable[[], Coroutine[Any, Any, tuple[bool, dict[str, Any]]]]
_UNCACHED = {"cache-control": "no-store"}
_SERVER: dict[str, Any] = {
    "lifespan": "off",
    "ws": "none",
    "access_log": False,
    "server_header": False,
    # uvicorn believes `x-forwarded-for` of peers on this machine unless told not to:
    # https://www.uvicorn.org/settings/#http
    "proxy_headers": False,
    "timeout_keep_alive": int(SECONDS),
    # Unhandled errors become a bare 500; the traceback is not logged.
    "log_config": None,
    "log_level": "critical",
}


class CannotListen(Exception):
    """`str()` says where and why."""


class Monitor:
    """`front`: checks that Envoy is ready, where the supervisor runs it; `workers`: checks that each of them serves, by
    name; `status`: the state of the configuration."""

    def __init__(  # noqa: PLR0913 - half of them have a default
        self,
        front: Check | None,
        workers: Mapping[str, Check],
        status: Status,
        left_out: Callable[[], Coroutine[Any, Any, int]] | None = None,
        usage: Callable[[], Counts] | None = None,
        *,
        budgets: BudgetKeeper | None = None,
    ) -> None:
        """Within the supervisor's event loop. `left_out`: asks Envoy for the refusals that it has not logged. `usage`:
        what has become of calls for the ledger; None where there is none. `budgets`: counts what is used of them."""
        self._loop = asyncio.get_running_loop()
        self._checks = {**({"envoy": front} if front is not None else {}), **workers}
        self._leaving = False
        self._servers: list[uvicorn.Server] = []
        self._left_out = left_out
        self._usage = usage
        self._budgets = budgets
        self._status = status

    def start(self, settings: Config, folder: Path) -> dict[str, str]:
        """Starts to listen. Returns variables for the environment of the workers. Raises CannotListen."""
        if settings.health is not None:
            self._listen(settings.health, "health", self._pages())
        if settings.metrics is None:
            return {}
        folder.mkdir(mode=0o700, exist_ok=True)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        registry.register(OfConfiguration(self._status))
        registry.register(OfProviders(self._status.cool_downs))
        registry.register(OfEnvoy(self._ask_left_out))
        if self._usage is not None:
            registry.register(OfLedger(self._usage))
        if self._budgets is not None:
            registry.register(OfBudgets(self._budgets, self._ask_budgets))
        registry.register(OfReadiness(lambda: self._answer(self._ready)[0]))
        self._listen(settings.metrics, "metrics", self._pages(Scrape(registry, folder)))
        return {FOLDER: str(folder)}

    def leave(self) -> None:
        """Makes `/readyz` answer 503 from now on."""
        self._leaving = True

    def close(self) -> None:
        """Answers no more."""
        for server in self._servers:
            server.should_exit = True

    def _listen(self, where: HttpListener, key: str, pages: Starlette) -> None:
        """Raises CannotListen."""
        family = socket.AF_INET6 if ":" in where.address else socket.AF_INET
        try:
            listening = socket.create_server((where.address, where.port), family=family)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else error  # its own text names the address once more
            problem = f"cannot listen on {where.address}:{where.port}: {why}; see `{key}` in the file"
            raise CannotListen(problem) from None
        server = uvicorn.Server(uvicorn.Config(pages, **_SERVER))
        self._servers.append(server)
        # Outside the main thread uvicorn leaves the signals alone, which are the supervisor's.
        Thread(target=server.run, args=([listening],), daemon=True, name=key).start()

    def _pages(self, scrape: "Scrape | None" = None) -> Starlette:
        """Each is made in a thread of its own: the loop may be stuck, and then this says so."""

        def page(ask: Ask) -> Callable[[object], JSONResponse]:
            def answer(_request: object) -> JSONResponse:
                good, detail = self._answer(ask)
                return JSONResponse(detail, 200 if good else 503, _UNCACHED)

            return answer

        def not_found(_request: object, _error: Exception) -> JSONResponse:
            return JSONResponse({"status": "not found"}, 404, _UNCACHED)

        checks = {"/livez": self._live, "/readyz": self._ready, "/status": self._state}
        routes = [Route(path, page(ask)) for path, ask in checks.items()]
        routes += [Route(path, scrape.page) for path in ("/metrics", "/")] if scrape is not None else []
        gzip = Middleware(GZipMiddleware, minimum_size=500)
        return Starlette(routes=routes, middleware=[gzip], exception_handlers={404: not_found})

    def _answer(self, ask: Ask) -> tuple[bool, dict[str, Any]]:
        """Returns what `ask` gives in the event loop, for a thread; a loop that is stuck is a failed check."""
        future = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return future.result(SECONDS)
        except TimeoutError:
            future.cancel()
            return False, {"status": "hangs"}

    def _ask_left_out(self) -> int:
        """Returns the number of refusals that Envoy has not logged, for the thread of a scrape."""
        if self._left_out is None:
            return 0
        future = asyncio.run_coroutine_threadsafe(self._left_out(), self._loop)
        try:
            return future.result(SECONDS)
        except TimeoutError:
            future.cancel()
            return 0

    def _ask_budgets(self) -> list[AccountState] | None:
        """As `_ask_left_out`, for what is used of budgets; None: the counters cannot be read."""
        if self._budgets is None:
            return None
        future = asyncio.run_coroutine_threadsafe(self._budgets.counters.states(), self._loop)
        try:
            return future.result(SECONDS)
        except (TimeoutError, StoreDown):
            future.cancel()
            return None

    async def _live(self) -> tuple[bool, dict[str, Any]]:
        return True, {"status": "live"}

    async def _state(self) -> tuple[bool, dict[str, Any]]:
        return True, self._status.as_dict()

    async def _ready(self) -> tuple[bool, dict[str, Any]]:
        """Returns whether calls can be served. One worker is enough: Envoy sends calls only to those that serve."""
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


class Scrape:
    """The page for Prometheus: the counts of all workers, added up."""

    def __init__(self, registry: CollectorRegistry, folder: Path) -> None:
        self._registry = registry
        self._folder = folder

    def page(self, request: Request) -> Response:
        """https://prometheus.io/docs/instrumenting/content_negotiation/; `name[]` picks metrics."""
        _forget_dead(self._folder)
        encoder, media = choose_encoder(request.headers.get("accept", ""))
        names = request.query_params.getlist("name[]")
        registry = self._registry.restricted_registry(names) if names else self._registry
        return Response(encoder(registry), headers={"content-type": media})


def _forget_dead(folder: Path) -> None:
    """Removes the gauges of workers that ended during a call."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # the process has ended, or its id belongs to another user's
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
