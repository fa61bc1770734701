"""Operators of the API for budgets: who calls, whether `admin.allow` admits them, and what the supervisor does for
them.

All refusals have the form of Anthropic's API, and every answer has a `request-id`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.errors import Kind, Reason, Rejection, invalid
from extproc.events import Headers
from extproc.policy import facts
from extproc.policy.budgets.administration import Administration
from extproc.policy.facts import Caller
from extproc.printable import printable_time
from extproc.transport.control import MAYBE_DONE, BudgetAnswer, BudgetCommand, Unreachable
from extproc.web.context import Context, Refused, address_of, caller_of
from extproc.wire import untrusted

log = logging.getLogger("extproc")

T = TypeVar("T", bound=msgspec.Struct)
MAX_NAME = 500
"""Characters of a subject or an issuer that the audit keeps."""
_DOWN = Rejection(
    kind=Kind.OVERLOADED,
    message="the counters of budgets cannot be reached at the moment, try again in a moment",
    reason=Reason.OVERLOADED,
    status=503,
    headers=(("retry-after", "2"),),
)
_MAYBE_DONE = Rejection(kind=Kind.API, message=MAYBE_DONE, reason=Reason.INTERNAL, status=503)
_FORBIDDEN = Rejection(
    kind=Kind.PERMISSION, message="this caller may not administer budgets (admin.allow)", reason=Reason.AUTHORIZATION
)
_NAMELESS = Rejection(
    kind=Kind.PERMISSION, message="this credential has no subject for the audit to name", reason=Reason.AUTHORIZATION
)
_NO_BODY = "a JSON body is required"
_ARGUMENTS = {"--measure": "`measure`", "--until": "`until`"}


class Operator:
    """A caller whom `admin.allow` admits."""

    def __init__(self, caller: Caller, context: Context) -> None:
        self._caller = caller
        self._context = context

    async def ask(self, command: BudgetCommand) -> BudgetAnswer:
        """Has the supervisor carry out a command, in the name of the caller. Raises Refused."""
        by, issuer = self._caller.subject[:MAX_NAME], self._caller.issuer[:MAX_NAME]
        named = msgspec.structs.replace(command, via="api", by=by, issuer=issuer)
        try:
            answer = await asyncio.to_thread(self._context.ask_budgets, self._context.gateway.source.path, named)
        except Unreachable as error:
            log.error("admin: %s", error)
            raise Refused(_DOWN) from None
        if answer.maybe_done:  # without `retry-after`: a grant would be made twice
            log.error("admin: %s", answer.problem)
            raise Refused(_MAYBE_DONE)
        if answer.store_down:
            log.error("admin: %s", answer.problem)
            raise Refused(_DOWN)
        if answer.problem:
            problem = answer.problem
            for argument, member in _ARGUMENTS.items():
                problem = problem.replace(f"with {argument}", f"in {member}")
            raise Refused(invalid("budget" if answer.field == "name" else answer.field, problem))
        return answer


Handler = Callable[[Request, Operator], Awaitable[Any]]
"""Returns what is answered as JSON. Raises Refused."""


class Guard:
    def __init__(self, administration: Administration, context: Context) -> None:
        self._administration = administration
        self._context = context

    def route(self, path: str, handlers: Mapping[str, Handler]) -> Route:
        """Returns what answers a path, by the method's handler, to operators alone."""

        async def answer(request: Request) -> Response:
            request_id = request.headers.get("x-request-id", "")
            try:
                operator = await self._operator(request)
                if request.method not in handlers:
                    raise Refused(_not_allowed(handlers))
                found: Response = JSONResponse(await handlers[request.method](request, operator))
            except HTTPException as error:  # a body beyond its bounds
                found = Refused(invalid("", error.detail, status=error.status_code)).response(request_id)
            except Refused as error:
                found = error.response(request_id)
            found.headers["request-id"] = request_id
            return found

        route = Route(path, answer)
        route.methods = None  # any: `answer` refuses what has no handler, once it knows the caller
        return route

    async def _operator(self, request: Request) -> Operator:
        """Raises Refused."""
        caller = await caller_of(request, self._context)
        headers = [(":authority", request.headers.get("host", "")), *request.headers.items()]
        seen = facts.Request(
            started=self._context.clock(),
            method=request.method,
            path=request.url.path,
            headers=Headers(headers),
            source=address_of(request),
        )
        if not self._administration.allows(facts.Identified(request=seen, caller=caller)):
            log.warning("admin: %r, from %s, was refused", caller.subject, address_of(request))
            raise Refused(_FORBIDDEN)
        if not caller.subject:
            raise Refused(_NAMELESS)
        return Operator(caller, self._context)


def _not_allowed(handlers: Mapping[str, Handler]) -> Rejection:
    return Rejection(
        kind=Kind.INVALID_REQUEST,
        message=f"this path is for {' and '.join(handlers)}",
        reason=Reason.INVALID_REQUEST,
        status=405,
        headers=(("allow", ", ".join(handlers)),),
    )


def not_found(problem: str) -> Rejection:
    return Rejection(kind=Kind.NOT_FOUND, message=problem, reason=Reason.INVALID_REQUEST)


async def read_body(request: Request, kind: type[T]) -> T:
    """Returns the body of a request. Raises Refused, HTTPException."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":  # a page of another site can send the others with the browser's credentials
        raise Refused(invalid("content-type", "expected application/json"))
    try:
        return msgspec.convert(untrusted.decode(await request.body()), kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise Refused(invalid(path.rstrip("`").lstrip("."), problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(invalid("", _NO_BODY)) from None


def read_number(request: Request, name: str, default: int, most: int) -> int:
    """Returns a parameter of the query, from 1 to `most`. Raises Refused."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise Refused(invalid(name, f"expected a number from 1 to {most}"))
    return int(text)


def time_text(seconds: int) -> str | None:
    """Returns a time as in RFC 3339; None for 0. `seconds`: Unix seconds."""
    return printable_time(seconds) if seconds else None
