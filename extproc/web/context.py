"""What a topic of the web process is given: the configuration in force, the store, the clock, HTTP clients."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from extproc.gateway.gateway import Gateway
from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.keys.places import trusting
from extproc.store.interface import Store

HTTP_SECONDS = 10.0


class Clients:
    """HTTP clients of the process, one for each set of trusted roots. They follow no redirect."""

    def __init__(self) -> None:
        self._clients: dict[str | None, httpx.AsyncClient] = {}

    def trusting(self, roots: str | None = None) -> httpx.AsyncClient:
        """`roots`: certificates in PEM, trusted instead of the public authorities. Raises ssl.SSLError."""
        if roots not in self._clients:
            verify = httpx.create_ssl_context() if roots is None else trusting(roots)
            self._clients[roots] = httpx.AsyncClient(
                verify=verify, timeout=HTTP_SECONDS, headers={"user-agent": "llm-extproc"}
            )
        return self._clients[roots]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


@dataclass(frozen=True)
class Context:
    gateway: Gateway
    """The configuration in force: `gateway.source.config`, and models and rules made of it."""
    authenticate: Authenticate
    """The workers' own check of credentials, but with all claims of the caller; see `web.callers`."""
    store: Store
    clients: Clients = field(default_factory=Clients)
    clock: Callable[[], float] = time.time
    """Unix seconds."""
