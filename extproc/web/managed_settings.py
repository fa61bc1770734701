"""`GET /managed/settings`: what Claude Code asks for at each start, once it is signed in.

Anything but 200, 304 and 404 keeps the client from starting.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.config.endpoints import built_in
from extproc.events import Headers
from extproc.policy import facts
from extproc.policy.facts import Accepted, Caller
from extproc.web.context import Context, address_of, caller_of
from extproc.wire import dialects

_PATH = dialects.row(dialects.DEFAULT).path


def routes(context: Context) -> list[Route]:
    async def settings(request: Request) -> Response:
        caller = await caller_of(request, context)
        models = context.gateway.usable_models(_as_model_call(request, caller, context.clock()))
        document = context.gateway.managed_settings.for_caller(caller.claims, models)
        headers = {"etag": f'"{document.checksum}"', "vary": "user-agent", "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        body = {"uuid": document.checksum, "checksum": document.checksum, "settings": document.settings}
        return JSONResponse(body, headers=headers)

    return [Route("/managed/settings", settings, methods=["GET"])]


def _as_model_call(request: Request, caller: Caller, now: float) -> Accepted:
    """What rules would see of a call to a model by the same client."""
    headers = [(":authority", request.headers.get("host", "")), *request.headers.items()]
    seen = facts.Request(started=now, method="POST", path=_PATH, headers=Headers(headers), source=address_of(request))
    return Accepted(request=seen, endpoint=built_in()[_PATH], caller=caller)
