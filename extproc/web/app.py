"""The web application: the routes of all topics in use, with bounds and headers that every answer has."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from extproc.store.interface import StoreDown
from extproc.web import about, admin, managed_settings, sign_in, topics
from extproc.web.context import Context, Refused

log = logging.getLogger("extproc")

ANSWER_SECONDS = 30.0
"""For one request, from its headers to the end of the answer."""
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    # With `no-referrer` browsers send `Origin: null` along with our own forms:
    # https://fetch.spec.whatwg.org/#append-a-request-origin-header
    b"referrer-policy": b"same-origin",
    # Answers with tokens must have it: https://www.rfc-editor.org/rfc/rfc6749#section-5.1.
    b"cache-control": b"no-store",
}

Routes = Callable[[Context], list[Route]]


def _telemetry(context: Context) -> list[Route]:
    from extproc.web import telemetry  # it needs an extra

    return telemetry.routes(context)


def _console(context: Context) -> list[Route]:
    from extproc.web.console import routes  # the ledger needs an extra

    return routes.routes(context)


# A topic's routes have exactly the paths of its row in `topics`.
ROUTES: Mapping[str, Routes] = {
    "sign_in": sign_in.routes,
    "about": about.routes,
    "managed_settings": managed_settings.routes,
    "telemetry": _telemetry,
    "console": _console,
    "admin": admin.routes,
}


def application(context: Context) -> ASGIApp:
    found: dict[str, ASGIApp] = {}
    for topic in topics.in_use(context.gateway.source.config):
        app = Starlette(routes=ROUTES[topic.name](context), exception_handlers=_HANDLERS)
        found |= dict.fromkeys(topic.paths, _Bounded(app, topic.max_body_bytes, topic.body_seconds))
    return _ByPath(found)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response(request.headers.get("x-request-id", ""))


async def _store_down(request: Request, error: Exception) -> Response:
    log.error("%s: the store cannot be used: %s", request.url.path, error)
    problem = {"error": "temporarily_unavailable", "error_description": "try again in a moment"}
    return JSONResponse(problem, 503, {"retry-after": "2"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


_HANDLERS = {Refused: _refused, StoreDown: _store_down, HTTPException: _http_error}


class _ByPath:
    """Chooses by the path as Envoy does; no other spelling leads anywhere."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        """Keys: as `topics.Topic.paths`."""
        self._apps = apps
        patterns = ((topics.pattern(path), app) for path, app in apps.items())
        self._patterns = [(re.compile(pattern), app) for pattern, app in patterns if pattern is not None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope["path"])(scope, receive, send)

    def _app(self, path: str) -> ASGIApp:
        if path in self._apps:
            return self._apps[path]
        found = (app for pattern, app in self._patterns if pattern.fullmatch(path))
        return next(found, PlainTextResponse("not found", 404))


class _Bounded:
    """A topic with bounds: bytes and seconds of a body, seconds of an answer. An unhandled error becomes a bare 500;
    only its type is logged, since its text might quote a secret."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, body_seconds: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = _with_defaults(message["headers"])
            await send(message)

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._app(scope, self._bounded(receive), answer)
        except Exception as error:  # noqa: BLE001 - the boundary; see above
            log.error("%s failed: %s", scope["path"], type(error).__name__)
            if not begun:
                status = 503 if isinstance(error, TimeoutError) else 500
                await PlainTextResponse("something went wrong here", status)(scope, receive, answer)

    def _bounded(self, receive: Receive) -> Receive:
        left, deadline = self._max_body_bytes, asyncio.get_running_loop().time() + self._body_seconds
        whole = False

        async def bounded() -> Message:
            nonlocal left, whole
            if whole:  # what follows a body is the client's leave, which may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the request did not arrive in time") from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, "the request is too large")
            whole = not message.get("more_body", False)
            return message

        return bounded


def _with_defaults(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in headers}
    return [*headers, *((name, value) for name, value in _HEADERS.items() if name not in names)]
