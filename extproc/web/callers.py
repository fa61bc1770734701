"""The caller of a path that is not for everybody, proven by the same code and the same keys as in the workers."""

from starlette.requests import Request
from starlette.responses import Response

from extproc.errors import Kind, Reason, Rejection
from extproc.events import Headers
from extproc.policy import facts
from extproc.policy.facts import Caller
from extproc.web.context import Context
from extproc.web.topics import ADDRESS_HEADER
from extproc.wire import rejections

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
