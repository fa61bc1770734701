"""Finds out who looks at the console, and what they may see."""

import logging
import os

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from extproc.errors import Rejection
from extproc.events import Headers
from extproc.policy import facts
from extproc.sign_in import console_access
from extproc.sign_in.console_access import ConsoleLinks
from extproc.web.console import sessions
from extproc.web.console.view import Visitor
from extproc.web.context import Context, address_of

log = logging.getLogger("extproc")

LINK_SESSION_SECONDS = 4 * 3600.0
HOME = "/console"
_MINE = "local"


class Unverified(Exception):
    """It cannot be verified at the moment who has signed in."""


class Access:
    def __init__(self, context: Context) -> None:
        config = context.gateway.source.config
        self._context = context
        self._rules = console_access.load(context.gateway.source, [])
        self._links = ConsoleLinks(key) if (key := os.environ.get(console_access.KEY_VARIABLE)) else None
        self._local = sessions.of_link(context.store, secure=config.listen.tls is not None)
        url = config.sign_in.public_url if config.sign_in is not None else ""
        self._signed_in = sessions.of_sign_in(context.store, url) if url else None
        self._origins = {url} if url else set()

    @property
    def has_sign_in(self) -> bool:
        return self._signed_in is not None

    async def visitor(self, request: Request) -> Visitor | None:
        """Returns who looks, or None where nobody is known. Raises StoreDown, Unverified."""
        if _is_local(request) and await self._local.value(request) == _MINE:
            return Visitor("this machine", sees_all=True)
        token = await self._signed_in.value(request) if self._signed_in is not None else None
        return await self._person(token) if token else None

    async def _person(self, token: str) -> Visitor | None:
        """The workers' own check of the access token, so that a revocation ends this session, too."""
        headers = Headers([("authorization", f"Bearer {token}")])
        seen = facts.Request(started=self._context.clock(), headers=headers)
        identified = await self._context.authenticate(facts.Located(request=seen), seen.started)
        if isinstance(identified, Rejection):
            if identified.http_status == 503:
                raise Unverified
            return None
        if not identified.caller.subject:
            return None
        caller = identified.caller
        name = str(caller.claims.get("name") or caller.claims.get("email") or caller.subject)
        sees_all = console_access.allows(self._rules, caller.claims)
        return Visitor(name, caller.subject, caller.issuer, sees_all, caller)

    async def open(self, request: Request) -> Response | None:
        """Begins a session by a link, once. None: the link does not count. Raises StoreDown."""
        key = request.query_params.get("key", "")
        left = self._links.seconds_left(key, self._context.clock()) if self._links is not None else 0
        if not left or not _is_local(request):
            log.warning("console: a link was refused for %s", address_of(request))
            return None
        if not await self._context.store.add(f"console-link/{key.partition('.')[2]}", b"", left + 1):
            log.warning("console: a link was used again from %s", address_of(request))
            return None
        answer = RedirectResponse(HOME, 303)
        await self._local.begin(answer, _MINE, LINK_SESSION_SECONDS)
        log.info("console: opened by the link of this machine")
        return answer

    async def sign_out(self, request: Request) -> Response | None:
        """Ends the session. None: the form is not one of ours. Raises StoreDown."""
        if not self.is_own_form(request):
            log.warning("console: csrf_rejected: a form from another origin, from %s", address_of(request))
            return None
        answer = RedirectResponse(HOME, 303)
        await self._local.end(request, answer)
        if self._signed_in is not None:
            await self._signed_in.end(request, answer)
        return answer

    def is_own_form(self, request: Request) -> bool:
        """Returns whether a page of this console sent it, and no other site.
        https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Origin: browsers send it with every POST."""
        origin = request.headers.get("origin", "")
        host = request.headers.get("host", "")
        return origin in self._origins or (_is_local(request) and origin in {f"http://{host}", f"https://{host}"})


def _is_local(request: Request) -> bool:
    return address_of(request) in console_access.LOOPBACK
