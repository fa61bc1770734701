"""The browser's part of a sign-in: confirm the code, go to the company's login, come back."""

import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from extproc.sign_in import device, loopback
from extproc.sign_in.device import CODE_SECONDS, Device, DeviceFlow
from extproc.sign_in.loopback import AuthorizationRequest
from extproc.sign_in.provider import CALLBACK_PATH, Identity, Provider
from extproc.sign_in.refusals import Refusal
from extproc.sign_in.sealing import NotSealed
from extproc.sign_in.sessions import Sessions
from extproc.store.interface import StoreDown
from extproc.web import forms, pages, topics
from extproc.web.console import sessions as console_sessions
from extproc.web.context import Context, address_of
from extproc.web.rate import RateLimit

log = logging.getLogger("extproc")

CONSOLE, CONSOLE_SIGN_IN = "/console", "/oauth/console"
_STATE, GRANT = "state", "grant"
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_UNKNOWN = "That code was not recognized. Codes count for ten minutes, and once; see what your device shows now."
_TOO_MANY = "Too many attempts from your network. Wait ten minutes and begin again."
_DOWN = "The gateway cannot sign anybody in at the moment. Try again in a minute."
_EXPIRED = "This sign-in has expired or has been used. Begin again on your device."
_OTHER_BROWSER = (
    "This sign-in began in another browser, or cookies are switched off. Open the link of your device again."
)


class State(msgspec.Struct, frozen=True):
    """What comes back from the identity provider, sealed, so that any machine can finish."""

    waiting: str | AuthorizationRequest | None
    """The client to sign in: the id of one that waits with a code, or what a program on this machine asks for. None:
    this browser itself, for the console."""
    nonce: str
    verifier: str
    browser: str
    """Digest of the cookie of the browser that began."""
    until: float


class Browser:
    def __init__(
        self,
        context: Context,
        flow: DeviceFlow,
        provider: Provider,
        sessions: Sessions,
        limit: Callable[[], RateLimit],
    ) -> None:
        """`limit` makes a limit of attempts by address."""
        settings = context.gateway.source.config.sign_in
        assert settings is not None
        self._url = settings.public_url
        self._issuer = settings.issuer
        self._clock = context.clock
        self._store = context.store
        self._flow = flow
        self._provider = provider
        self._sessions = sessions
        self._codes = loopback.Codes(context.store)
        self._has_console = CONSOLE in topics.paths(context.gateway.source.config)
        self._console = console_sessions.of_sign_in(context.store, settings.public_url)
        self._tries, self._sent_on = limit(), limit()
        # https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-15.html#section-4.1.3.2
        self._secure = self._url.startswith("https:")
        self.cookie = "__Host-extproc-sign-in" if self._secure else "extproc-sign-in"

    async def serve(self, request: Request) -> Response:
        """Answers at the paths of PAGES, always with a page."""
        try:
            return await PAGES[request.url.path](self, request)
        except StoreDown as error:
            log.error("sign-in: the store cannot be used: %s", error)
            return pages.failed(_DOWN, 503)
        except Refusal as refusal:
            log.warning("sign-in: %s for %s: %s", request.url.path, address_of(request), refusal.reason)
            return pages.failed(str(refusal), refusal.status)

    async def device(self, request: Request) -> Response:
        """GET: the code to confirm, or a field for it. POST: on to the company's login."""
        if request.method == "POST":
            return await self._continue(request)
        given = request.query_params.get("user_code", "")
        if not given:
            return pages.enter_code()
        return await self._confirm(request, given)

    async def deny(self, request: Request) -> Response:
        found = await self._posted(request)
        if isinstance(found, Response):
            return found
        await self._flow.deny(found[0])
        log.info("sign-in: a code was refused by a person at %s", address_of(request))
        return pages.denied()

    async def callback(self, request: Request) -> Response:
        """Where the identity provider sends the browser back to."""
        state = None
        try:
            state = await self._state(request)
            identity_code = self._code(request, await self._sends_issuer())
            answer = await self._finish(state, identity_code)
        except Refusal as refusal:
            log.warning("sign-in: not finished for a browser at %s: %s", address_of(request), refusal.reason)
            answer = self._failed(state, refusal)
        # With the same attributes: a browser ignores a `__Host-` cookie that is not `secure`, also one that deletes.
        answer.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="lax")
        return answer

    def _failed(self, state: State | None, refusal: Refusal) -> Response:
        """A page, or for a program on this machine its answer, which says why."""
        if state is None or not isinstance(state.waiting, AuthorizationRequest):
            return pages.failed(str(refusal), refusal.status)
        url = state.waiting.answer(self._url, error=refusal.error, error_description=str(refusal))
        return RedirectResponse(url, 302)

    async def _confirm(self, request: Request, given: str, why: str = "") -> HTMLResponse:
        found = await self._find(request, given)
        if isinstance(found, HTMLResponse):
            return found
        _, waiting = found
        origin = (await self._provider.metadata()).origin
        minutes = int((self._clock() - waiting.began) / 60)
        return pages.confirm(waiting, minutes, origin, why)

    async def _find(self, request: Request, given: str) -> tuple[str, Device] | HTMLResponse:
        """The client that waits with this code. Codes that are not there count as attempts to guess one."""
        address = address_of(request)
        if not self._tries.allows(address):
            log.warning("sign-in: too many codes from %s", address)
            return pages.enter_code(why=_TOO_MANY, status=429)
        found = await self._flow.find(device.normalized(given))
        if found is None:
            self._tries.count(address)
            return pages.enter_code(why=_UNKNOWN)
        return found

    async def _posted(self, request: Request) -> tuple[str, Device] | HTMLResponse:
        """The client that waits with the code of a form that one of our own pages sent."""
        form = await forms.read(request)
        given = form.get("user_code", "")
        # Browsers send it with every form; the form of another site names that site
        # (https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Origin).
        if request.headers.get("origin") != self._url:
            log.warning("sign-in: csrf_rejected: a form from another origin, from %s", address_of(request))
            why = f"Please confirm here. This page must be open at {self._url}/device."
            return await self._confirm(request, given, why) if given else pages.enter_code(why=why)
        return await self._find(request, given)

    async def _continue(self, request: Request) -> Response:
        found = await self._posted(request)
        if isinstance(found, Response):
            return found
        return await self._to_provider(request, found[0])

    async def authorize(self, request: Request) -> Response:
        """GET: asks whether a program on this machine may sign the person in, which a link of a stranger's must not do
        by itself (https://www.rfc-editor.org/rfc/rfc8252#section-8.6). POST: on to the company's login."""
        if request.method != "POST":
            asked = loopback.read(request.query_params)
        else:
            asked = loopback.read(await forms.read(request))
            if request.headers.get("origin") == self._url:
                return await self._to_provider(request, asked)
            log.warning("sign-in: csrf_rejected: a form from another origin, from %s", address_of(request))
        return pages.confirm_program(asked, (await self._provider.metadata()).origin)

    async def console(self, request: Request) -> Response:
        """GET: asks. POST: on to the company's login, and back to the console."""
        if not self._has_console:
            raise Refusal("invalid_request", "This gateway has no console.", status=404)
        if request.method == "POST" and request.headers.get("origin") == self._url:
            return await self._to_provider(request, None)
        return pages.enter_console((await self._provider.metadata()).origin)

    async def _to_provider(self, request: Request, waiting: str | AuthorizationRequest | None) -> Response:
        # Each state can make us ask the provider and remember that we did.
        if not self._sent_on.count(address_of(request)):
            raise Refusal("slow_down", _TOO_MANY, status=429, reason="too many sign-ins from this address")
        browser = request.cookies.get(self.cookie, "")
        if not _COOKIE.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
        state = State(
            waiting,
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            _digest(browser),
            self._clock() + CODE_SECONDS,
        )
        sealed = (await self._sessions.seal()).close(_STATE, msgspec.to_builtins(state))
        url = await self._provider.authorization_url(sealed, state.nonce, state.verifier)
        answer = RedirectResponse(url, 302)
        # `lax`, not `strict`: the redirect that ends the sign-in comes from another site.
        answer.set_cookie(
            self.cookie, browser, CODE_SECONDS, path="/", secure=self._secure, httponly=True, samesite="lax"
        )
        return answer

    async def _state(self, request: Request) -> State:
        """Raises Refusal."""
        try:
            opened = (await self._sessions.seal()).open(_STATE, request.query_params.get("state", ""))
            state = msgspec.convert(opened, State)
        except (NotSealed, msgspec.ValidationError):
            raise Refusal("invalid_request", _EXPIRED, reason="the state is not ours") from None
        if self._clock() > state.until:
            raise Refusal("invalid_request", _EXPIRED, reason="the state has expired")
        browser = request.cookies.get(self.cookie, "")
        if not hmac.compare_digest(_digest(browser), state.browser):
            raise Refusal("invalid_request", _OTHER_BROWSER, reason="the state is another browser's")
        return state

    async def _sends_issuer(self) -> bool:
        return (await self._provider.metadata()).sends_issuer

    def _code(self, request: Request, sends_issuer: bool) -> str:
        """The provider's code. Raises Refusal."""
        query = request.query_params
        # Another provider's answer must not be redeemed here: https://www.rfc-editor.org/rfc/rfc9207#section-2.4
        if query.get("iss", None if sends_issuer else self._issuer) != self._issuer:
            raise Refusal("invalid_request", _EXPIRED, reason="the redirect names another issuer, or none")
        if error := query.get("error"):
            plain = re.sub(r"[^a-z_]", "?", error[:40])
            words = {
                "access_denied": "Your company's login refused, or you cancelled there. You can open the link again."
            }
            text = words.get(error, f"Your company's login ended with the error {plain}.")
            raise Refusal("access_denied", text, reason=f"identity provider: {plain}")
        if not (code := query.get("code", "")):
            raise Refusal("invalid_request", _EXPIRED, reason="the redirect has no code")
        return code

    async def _finish(self, state: State, code: str) -> Response:
        for kind, secret in (("state", state.nonce), ("code", code)):
            used = hashlib.sha256(secret.encode()).hexdigest()
            # A redirect can be seen by other programs, in a history or a log: its code counts once
            # (https://www.rfc-editor.org/rfc/rfc6749#section-10.5).
            if not await self._store.add(f"sign-in/redeemed/{kind}/{used}", b"", CODE_SECONDS):
                raise Refusal("invalid_request", _EXPIRED, reason=f"the {kind} of a redirect was used again")
        identity = await self._provider.redeem(code, state.verifier, state.nonce)
        try:
            await self._sessions.check(identity)
        except Refusal:
            if isinstance(state.waiting, str):
                await self._flow.deny(state.waiting)
            raise
        if state.waiting is None:
            return await self._to_console(identity)
        grant = (await self._sessions.seal()).close(GRANT, msgspec.to_builtins(identity))
        if not isinstance(state.waiting, str):
            url = state.waiting.answer(self._url, code=await self._codes.issue(state.waiting, grant))
            return RedirectResponse(url, 302)
        if not await self._flow.approve(state.waiting, grant):
            raise Refusal("expired_token", _EXPIRED, reason="the device no longer waits")
        return pages.signed_in()

    async def _to_console(self, identity: Identity) -> Response:
        """A session of this browser for as long as its access token counts, without what could renew it."""
        tokens = await self._sessions.begin(identity)
        # 303: the browser asks for the page with GET, whatever it came with
        # (https://www.rfc-editor.org/rfc/rfc9110#section-15.4.4).
        answer = RedirectResponse(CONSOLE, 303)
        await self._console.begin(answer, tokens["access_token"], tokens["expires_in"])
        return answer


PAGES: Mapping[str, Callable[[Browser, Request], Awaitable[Response]]] = {
    "/device": Browser.device,
    "/device/deny": Browser.deny,
    loopback.PATH: Browser.authorize,
    CALLBACK_PATH: Browser.callback,
    CONSOLE_SIGN_IN: Browser.console,
}


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
