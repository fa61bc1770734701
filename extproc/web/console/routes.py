"""`/console`: who asks, what the ledger says, and the page of it."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from extproc.config.schema_usage import logged_claims
from extproc.errors import Rejection
from extproc.sign_in.console_access import LINK_PATH
from extproc.sign_in.refusals import Refusal
from extproc.transport.control import Unreachable
from extproc.usage.ledger import LedgerDown
from extproc.usage.opening import open_engine
from extproc.usage.reading import Reader, TooSlow
from extproc.web import forms
from extproc.web.console import (
    budgets_page,
    call_page,
    calls_page,
    health_page,
    layout,
    playground,
    state_pages,
    tables,
    usage_page,
    view,
)
from extproc.web.console.access import Access, Unverified
from extproc.web.console.playground import Mistake
from extproc.web.console.tables import Table
from extproc.web.console.view import View, Visitor
from extproc.web.context import Context, address_of

log = logging.getLogger("extproc")

MAX_READERS = 2
"""Pages that read the ledger at the same time; further ones wait."""
RESERVED = frozenset({"by", "range", "since", "until", "format", "table", "id", "before", "live"})
"""Parameters of pages. Claims of these names cannot be summed up by here."""
_NO_LEDGER = "The ledger cannot be read at the moment. Calls are not affected; try again in a minute."
_NO_COUNTERS = "What is used of budgets cannot be read at the moment. Try again in a minute."
_SLOW = "The ledger has too many calls for this time. Choose a shorter one."
_FOREIGN_FORM = "The form was sent by another site."
_UNVERIFIED = "The keys that prove who has signed in are not here at the moment."
_NOT_FOUND = "There is no such call, or it is not yours to see."
_HOW_TO_OPEN = (
    "Open the link that extproc up has printed. It counts once, and for an hour; a new start prints a new one."
)
_OPERATORS = (
    "This page is for people whom console.allow admits. Your own calls are on the pages Usage, Health and Calls."
)
Handler = Callable[[Request, Visitor], Awaitable[Response]]


def routes(context: Context) -> list[Route]:
    console = _Console(context)

    def page(path: str, handler: Handler) -> Route:
        return Route(path, console.guarded(handler), methods=["GET"])

    return [
        page(usage_page.PATH, console.usage),
        page(health_page.PATH, console.health),
        page(calls_page.PATH, console.calls),
        page(call_page.PATH, console.call),
        page(budgets_page.PATH, console.budgets),
        Route(playground.PATH, console.guarded(console.playground), methods=["GET", "POST"]),
        page("/console/providers", console.providers),
        page("/console/configuration", console.configuration),
        Route(LINK_PATH, console.open, methods=["GET"]),
        Route("/console/sign-out", console.sign_out, methods=["POST"]),
        Route("/console/style.css", _file("style.css", "text/css"), methods=["GET"]),
        Route("/console/icon.svg", _file("icon.svg", "image/svg+xml"), methods=["GET"]),
    ]


def _file(name: str, media: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files(__package__).joinpath(name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media, headers={"cache-control": "public, max-age=300"})

    return answer


class _Console:
    def __init__(self, context: Context) -> None:
        source = context.gateway.source
        config = source.config
        self._context = context
        self._access = Access(context)
        self._reader = Reader(open_engine(source, os.environ, read_only=True))
        self._reading = asyncio.Semaphore(MAX_READERS)
        self._claims = [
            name
            for name in logged_claims(config.records.claims, config.usage)
            if name not in RESERVED | view.COLUMNS.keys() and '"' not in name
        ]

    def guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Lets known visitors in, and makes pages of what goes wrong."""

        async def answer(request: Request) -> Response:
            try:
                visitor = await self._access.visitor(request)
                return await handler(request, visitor) if visitor is not None else self._who_is_there()
            except Unverified:
                return layout.plain("Try again in a moment", layout.text(_UNVERIFIED), _home(), status=503)
            except view.Unreadable as error:
                return layout.plain("That cannot be shown", layout.text(f"{error}."), _home(), status=400)
            except TooSlow:
                return layout.plain("That took too long", layout.text(_SLOW), _home(), status=503)
            except Unreachable as error:
                log.error("console: the counters of budgets cannot be read: %s", error)
                return layout.plain("No figures", layout.text(_NO_COUNTERS), _home(), status=503)
            except LedgerDown as error:
                log.error("console: the ledger cannot be read: %s", error)
                return layout.plain("No figures", layout.text(_NO_LEDGER), _home(), status=503)

        return answer

    def _who_is_there(self) -> Response:
        if self._access.has_sign_in:
            return RedirectResponse("/oauth/console", 303)
        return layout.plain("Who is there?", layout.text(_HOW_TO_OPEN), status=401)

    async def open(self, request: Request) -> Response:
        if (answer := await self._access.open(request)) is not None:
            return answer
        used = "This link has been used, or has ended. A new start of extproc up prints a new one."
        return layout.plain("This link no longer counts", layout.text(used), status=403)

    async def sign_out(self, request: Request) -> Response:
        if (answer := await self._access.sign_out(request)) is not None:
            return answer
        return layout.plain("Not signed out", layout.text(_FOREIGN_FORM), _home(), status=403)

    async def usage(self, request: Request, visitor: Visitor) -> Response:
        wanted = self._view(request)
        found = await self._read(usage_page.find, wanted, visitor)
        shown = usage_page.tables(found, wanted)
        return _answer(request, visitor, _Page("Usage", usage_page.parts(found, wanted), shown), wanted)

    async def health(self, request: Request, visitor: Visitor) -> Response:
        wanted = self._view(request)
        found = await self._read(health_page.find, wanted, visitor)
        shown = health_page.tables(found, wanted)
        return _answer(request, visitor, _Page("Health", health_page.parts(found, wanted), shown), wanted)

    async def calls(self, request: Request, visitor: Visitor) -> Response:
        wanted = self._view(request)
        before = calls_page.place(request.query_params.get("before"))
        found = await self._read(calls_page.find, wanted, visitor, before)
        live = before is None and request.query_params.get("live") == "1"
        parts = calls_page.parts(found, wanted, before, live=live)
        answer = _answer(request, visitor, _Page("Calls", parts, [calls_page.table(found, wanted)]), wanted)
        if live:  # browsers fetch the page again: https://html.spec.whatwg.org/#shared-declarative-refresh-steps
            answer.headers["refresh"] = str(calls_page.LIVE_SECONDS)
        return answer

    async def call(self, request: Request, visitor: Visitor) -> Response:
        found = await self._read(call_page.find, request.query_params.get("id", "")[:200], visitor)
        if found is None:
            return layout.page("No such call", calls_page.PATH, visitor, [layout.text(_NOT_FOUND)], status=404)
        return layout.page(
            "Call", calls_page.PATH, visitor, call_page.parts(self._context.gateway, found, sees_all=visitor.sees_all)
        )

    async def budgets(self, request: Request, visitor: Visitor) -> Response:
        gateway, now = self._context.gateway, self._context.clock()
        wanted = budgets_page.wanted(request.query_params, gateway)
        if not visitor.sees_all:
            assert visitor.caller is not None, "only the person at this machine has none, and sees all"
            accounts = budgets_page.accounts(gateway, visitor.caller, address_of(request), now)
            if isinstance(accounts, Rejection):
                return layout.page("Budgets", budgets_page.PATH, visitor, [layout.text(accounts.message)])
            wanted.accounts = accounts
        async with self._reading:
            found = await asyncio.to_thread(self._context.ask_budgets, gateway.source.path, wanted)
        if found.problem:
            raise Unreachable(found.problem)
        shown = budgets_page.tables(gateway, wanted, found, sees_all=visitor.sees_all)
        if not shown:
            words = budgets_page.empty(gateway, sees_all=visitor.sees_all)
            return layout.page("Budgets", budgets_page.PATH, visitor, [layout.text(words, "lead")])
        return _answer(request, visitor, _Page("Budgets", budgets_page.parts(wanted), shown), self._view(request))

    async def playground(self, request: Request, visitor: Visitor) -> Response:
        if request.method == "POST":
            return await self._try_request(request, visitor)
        gateway, now = self._context.gateway, self._context.clock()
        names = playground.models(gateway, visitor, address_of(request), now)
        given = playground.example(gateway, visitor, request.query_params, names)
        return layout.page("Playground", playground.PATH, visitor, [playground.form(visitor, given, names)])

    async def _try_request(self, request: Request, visitor: Visitor) -> Response:
        if not self._access.is_own_form(request):
            return layout.plain("Not tried", layout.text(_FOREIGN_FORM), _home(), status=403)
        try:
            given = playground.entered(await forms.read(request))
        except Refusal:
            return layout.plain("Not tried", layout.text("The form cannot be read."), _home(), status=400)
        gateway, now = self._context.gateway, self._context.clock()
        names = playground.models(gateway, visitor, address_of(request), now)
        try:
            found = await playground.results(gateway, visitor, given, address_of(request), now)
        except Mistake as mistake:
            parts, status = [playground.form(visitor, given, names, mistake)], 400
        else:
            parts, status = [playground.form(visitor, given, names), *found], 200
        return layout.page("Playground", playground.PATH, visitor, parts, status=status)

    async def providers(self, request: Request, visitor: Visitor) -> Response:
        if not visitor.sees_all:
            return _for_operators(request, visitor)
        gateway, now = self._context.gateway, self._context.clock()
        found = await self._read(state_pages.find, now)
        table = state_pages.providers(gateway, found, now)
        return _answer(request, visitor, _Page("Providers", [], [table]), self._view(request))

    async def configuration(self, request: Request, visitor: Visitor) -> Response:
        if not visitor.sees_all:
            return _for_operators(request, visitor)
        gateway = self._context.gateway
        page = _Page("Configuration", [state_pages.about(gateway)], state_pages.configuration(gateway))
        return _answer(request, visitor, page, self._view(request))

    def _view(self, request: Request) -> View:
        return view.read(request.query_params, self._claims, self._context.clock())

    async def _read(self, find: Callable[..., Any], *arguments: Any) -> Any:
        async with self._reading:
            return await asyncio.to_thread(find, self._reader, *arguments)


def _for_operators(request: Request, visitor: Visitor) -> Response:
    return layout.page("For operators", request.url.path, visitor, [layout.text(_OPERATORS)], status=403)


def _home() -> str:
    return '<p><a href="/console">To the usage of the last days</a></p>'


class _Page(NamedTuple):
    title: str
    parts: Sequence[str]
    tables: Sequence[Table]


def _answer(request: Request, visitor: Visitor, page: _Page, wanted: View) -> Response:
    """The page, or one of its tables as CSV."""
    path, shown = request.url.path, page.tables
    if request.query_params.get("format") == "csv":
        name = request.query_params.get("table", shown[0].name)
        table = next((one for one in shown if one.name == name), shown[0])
        file = f'attachment; filename="{path.strip("/").replace("/", "-")}-{table.name}.csv"'
        return Response(tables.as_csv(table), media_type="text/csv", headers={"content-disposition": file})
    found = [tables.html(table, wanted.url(path, format="csv", table=table.name)) for table in shown]
    return layout.page(page.title, path, visitor, [*page.parts, *found])
