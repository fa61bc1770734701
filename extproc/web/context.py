"""What a topic of the web process is given: the configuration in force, the store, the clock, HTTP clients, and the
caller of a path that is not for everybody, proven by the same code and the same keys as in the workers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response

from extproc.config.authorities import trusting
from extproc.errors import Kind, Reason, Rejection
from extproc.events import Headers
from extproc.gateway.gateway import Gateway
from extproc.policy import facts
from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.facts import Caller
from extproc.store.interface import Store
from extproc.transport import control
from extproc.transport.control import BudgetAnswer, BudgetCommand
from extproc.web.topics import ADDRESS_HEADER
from extproc.wire import rejections

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
                verify=verify,
                timeout=HTTP_SECONDS,
                headers={"user-agent": "llm-extproc"},
                mounts={"http://": None},  # the environment's proxies are for HTTPS; plain HTTP stays on our networks
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
    """The workers' own check of credentials, but with all claims of the caller; see `caller_of`."""
    store: Store
    clients: Clients = field(default_factory=Clients)
    clock: Callable[[], float] = time.time
    """Unix seconds."""
    ask_budgets: Callable[[Path, BudgetCommand], BudgetAnswer] = control.ask_budgets
    """Asks the supervisor; for a thread. Raises control.Unreachable."""


_MISSING = Rejection(
    kind=Kind.AUTHENTICATION,
    message="missing credential",
    reason=Reason.JWT_AUTH,
    headers=(("www-authenticate", "Bearer"), ("x-should-retry", "false")),
)


class Refused(Exception):
    """The request has no credential that proves who calls; `response` says so."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection

    def response(self, request_id: str) -> Response:
        answer = rejections.rejection_body("messages", self.rejection, request_id)
        return Response(answer, self.rejection.http_status, dict(self.rejection.headers), media_type="application/json")


async def caller_of(request: Request, context: Context) -> Caller:
    """Raises Refused, also where the configuration lets anonymous calls through to models."""
    seen = facts.Request(started=context.clock(), headers=Headers(request.headers.items()))
    identified = await context.authenticate(facts.Located(request=seen), seen.started)
    if isinstance(identified, Rejection):
        raise Refused(identified)
    if identified.caller.kind == "anonymous":
        raise Refused(_MISSING)
    return identified.caller


def address_of(request: Request) -> str:
    """The client's address as Envoy saw it."""
    return request.headers.get(ADDRESS_HEADER, "")
