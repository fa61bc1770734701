"""The web process: `python -m extproc.web.process CONFIG ADDRESS`. Started by the supervisor only, and given its
configurations and key sets as the workers are."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    gc.disable()  # what modules make when they load stays; `serve` turns it on again

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from extproc.config.loading import Invalid, Source
from extproc.config.processor_tls import host_of, is_tcp
from extproc.policy.authentication.authenticate import Authenticate
from extproc.printable import log_to_stderr, show
from extproc.store.interface import Store, StoreDown
from extproc.store.opening import open_store
from extproc.transport.gateways import Configuration, Gateways
from extproc.web.app import application
from extproc.web.context import Clients, Context
from extproc.web.rate import LogLimit

READY = "ready"
OWNER_ONLY, OWNERS_SOCKET = 0o077, 0o177
MAX_REQUESTS = 1000
"""At once; further ones get 503."""
KEEP_ALIVE_SECONDS = 75
"""Longer than Envoy keeps a connection that it does not use (`envoy.configuration`)."""
GRACE_SECONDS = 10


class Application:
    """Serves each request by the configuration that is in force when it begins."""

    def __init__(self, gateways: Gateways, store: Store) -> None:
        self._gateways = gateways
        self._store = store
        self._clients = Clients()
        self._app: tuple[Configuration, ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        configuration = self._gateways.acquire()
        try:
            await self._application(configuration)(scope, receive, send)
        finally:
            self._gateways.release(configuration)

    def _application(self, configuration: Configuration) -> ASGIApp:
        if self._app is None or self._app[0] is not configuration:
            gateway = configuration.gateway
            authenticate = Authenticate(gateway.source, [], self._gateways.keys)
            context = Context(gateway, authenticate, self._store, self._clients)
            self._app = configuration, application(context)
        return self._app[1]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by `serve` below."""
        yield


async def serve(config: Path, address: str) -> None:
    """Serves until SIGTERM, or until the supervisor is gone. Raises config.Invalid, StoreDown, OSError."""
    gateways = Gateways(config)
    await gateways.begin()
    store = open_store(gateways.current().source, os.environ)
    logging.getLogger("extproc").addFilter(LogLimit(gateways.current().source.config.limits.refusals_logged))
    listening = _listen(address)
    settings: dict[str, Any] = {"lifespan": "off", "ws": "none", "log_config": None, "access_log": False}
    settings |= {"server_header": False, "proxy_headers": False, "limit_concurrency": MAX_REQUESTS}
    settings |= {"timeout_keep_alive": KEEP_ALIVE_SECONDS, "timeout_graceful_shutdown": GRACE_SECONDS}
    if is_tcp(address):
        settings |= _mutual_tls(gateways.current().source)
    server = _Server(uvicorn.Config(Application(gateways, store), **settings))
    gc.collect()
    gc.freeze()
    gc.enable()
    print(READY, flush=True)

    def leave(*_: object) -> None:
        server.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, leave)
    following = asyncio.create_task(gateways.follow())
    if gateways.supervised:
        following.add_done_callback(leave)
    try:
        await server.serve(sockets=[listening])
    finally:
        following.cancel()
        await store.close()


def _mutual_tls(source: Source) -> dict[str, Any]:
    """As between Envoy and a processor on TCP: only a peer with a certificate of our authority is served."""
    tls = source.config.processor.tls
    if tls is None:
        return {}
    return {
        "ssl_certfile": source.resolve(tls.certificate),
        "ssl_keyfile": source.resolve(tls.key),
        "ssl_ca_certs": str(source.resolve(tls.client_ca)),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }


def _listen(address: str) -> socket.socket:
    """A socket that connections may wait on from now on. Raises OSError."""
    if is_tcp(address):
        host = host_of(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(address.rpartition(":")[2])), family=family, backlog=1024)
    path = Path(address.removeprefix("unix:"))
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    # A socket gets its mode when it is bound: before a `chmod` others may have connected.
    before = os.umask(OWNERS_SOCKET)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen(1024)
    return listening


def main(argv: list[str]) -> int:
    log_to_stderr()
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    try:
        os.umask(OWNER_ONLY)
        asyncio.run(serve(Path(argv[0]), argv[1]))
    except Invalid as error:
        show(error, sys.stderr)
        return 2
    except StoreDown as error:
        show(f"the store cannot be used: {error}", sys.stderr)
        return 1
    except OSError as error:
        show(f"cannot serve pages on {argv[1]}: {error}", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
