"""The paths of the sign-in: what clients are told about it, the token endpoint, and the browser's pages."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.policy.authentication import own_tokens
from extproc.policy.authentication.proof import Trusted
from extproc.policy.keys.fetch import fetch
from extproc.policy.keys.keys import Fixed, parse
from extproc.sign_in import exchange, loopback
from extproc.sign_in.configuration import Configuration
from extproc.sign_in.device import CODE_SECONDS, INTERVAL_SECONDS, DeviceFlow
from extproc.sign_in.exchange import TokenExchange
from extproc.sign_in.provider import CALLBACK_PATH, Identity, Provider
from extproc.sign_in.refusals import Refusal
from extproc.sign_in.sessions import Sessions
from extproc.sign_in.signing_keys import SigningKeys
from extproc.web import forms
from extproc.web.browser import CONSOLE_SIGN_IN, GRANT, Browser
from extproc.web.context import Context, address_of
from extproc.web.rate import RateLimit

log = logging.getLogger("extproc")

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
WINDOW_SECONDS = 600.0
_POLLS_PER_ATTEMPT = 150
"""One sign-in polls every five seconds for ten minutes."""
_CLIENTS = {"claude_code": "Claude Code", "extproc": "The extproc command"}
_PENDING = {"authorization_pending", "slow_down"}
Handler = Callable[[Request], Awaitable[Response]]


def routes(context: Context) -> list[Route]:
    """Raises ssl.SSLError where `sign_in.ca_file` holds no certificates, which `check` finds first."""
    configuration = context.gateway.sign_in
    assert configuration is not None
    endpoints = _Endpoints(context, configuration)

    def get(path: str, handler: Handler) -> Route:
        return Route(path, handler, methods=["GET"])

    def post(path: str, handler: Handler) -> Route:
        return Route(path, _as_oauth(handler), methods=["POST"])

    return [
        get("/.well-known/oauth-authorization-server", endpoints.metadata),
        # Libraries that verify tokens look for an issuer's keys here.
        get("/.well-known/openid-configuration", endpoints.metadata),
        get(own_tokens.JWKS_PATH, endpoints.jwks),
        post("/oauth/device_authorization", endpoints.device_authorization),
        post("/oauth/token", endpoints.token),
        post("/oauth/revoke", endpoints.revoke),
        Route("/device", endpoints.browser.serve, methods=["GET", "POST"]),
        Route("/device/deny", endpoints.browser.serve, methods=["POST"]),
        Route(loopback.PATH, endpoints.browser.serve, methods=["GET", "POST"]),
        get(CALLBACK_PATH, endpoints.browser.serve),
        Route(CONSOLE_SIGN_IN, endpoints.browser.serve, methods=["GET", "POST"]),
    ]


class _Endpoints:
    def __init__(self, context: Context, configuration: Configuration) -> None:
        self._settings = settings = configuration.settings
        self._clock = context.clock
        limit = settings.attempts_per_address
        self._begun = RateLimit(limit, WINDOW_SECONDS)
        self._polls = RateLimit(limit * _POLLS_PER_ATTEMPT, WINDOW_SECONDS)
        self._keys = SigningKeys(context.store, configuration.signing_key, context.clock)
        provider = Provider(configuration, context.clients.trusting(configuration.roots), context.clock)
        max_token_bytes = context.gateway.source.config.authentication.max_token_bytes
        self._sessions = Sessions(configuration, context.store, provider, self._keys, max_token_bytes, context.clock)
        self._flow = DeviceFlow(context.store, context.clock)
        self._codes = loopback.Codes(context.store)
        self._exchange = TokenExchange(configuration, fetch, context.clock)
        limits = partial(RateLimit, limit, WINDOW_SECONDS)
        self.browser = Browser(context, self._flow, provider, self._sessions, limits)

    async def metadata(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc8414"""
        url = self._settings.public_url
        grants = [DEVICE_GRANT, loopback.GRANT, "refresh_token", *([exchange.GRANT] if self._settings.exchange else [])]
        return JSONResponse(
            {
                "issuer": url,
                "device_authorization_endpoint": f"{url}/oauth/device_authorization",
                "authorization_endpoint": url + loopback.PATH,
                "token_endpoint": f"{url}/oauth/token",
                "revocation_endpoint": f"{url}/oauth/revoke",
                "jwks_uri": url + own_tokens.JWKS_PATH,
                "grant_types_supported": grants,
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                # Absent, it would mean `client_secret_basic`: https://www.rfc-editor.org/rfc/rfc8414#section-2.
                "token_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": self._settings.scopes,
                "gateway_protocol_version": 1,
            }
        )

    async def jwks(self, request: Request) -> Response:
        return JSONResponse(await self._keys.jwks(), headers={"cache-control": "public, max-age=60"})

    async def device_authorization(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc8628#section-3.1; a body of any form is taken, since none is needed."""
        address = address_of(request)
        if not self._begun.count(address):
            reason = f"too many sign-ins begun from {address}"
            raise Refusal(
                "slow_down", "too many sign-ins from your network; wait ten minutes", status=429, reason=reason
            )
        try:
            surface = (await forms.read(request)).get("surface", "")
        except Refusal:
            surface = ""
        codes = await self._flow.begin(_CLIENTS.get(surface, "A program"), address)
        uri = f"{self._settings.public_url}/device"
        answer = {
            "device_code": codes.device_code,
            "user_code": codes.user_code,
            "verification_uri": uri,
            "verification_uri_complete": f"{uri}?user_code={codes.user_code}",
            "expires_in": CODE_SECONDS,
            "interval": INTERVAL_SECONDS,
        }
        if self._settings.notice:
            answer["login_notice"] = self._settings.notice
        return JSONResponse(answer)

    async def token(self, request: Request) -> Response:
        address = address_of(request)
        if not self._polls.count(address):
            reason = f"too many requests for tokens from {address}"
            text = "too many requests from your network; wait ten minutes"
            raise Refusal("slow_down", text, status=429, reason=reason)
        form = await forms.read(request)
        match form.get("grant_type"):
            case None:
                raise Refusal("invalid_request", "grant_type is missing")
            case "refresh_token":
                return JSONResponse(await self._sessions.refresh(_needed(form, "refresh_token")))
            case grant if grant == DEVICE_GRANT:
                return await self._began(await self._flow.poll(_needed(form, "device_code")))
            case loopback.GRANT:
                return await self._began(await self._codes.redeem(form))
            case grant if grant == exchange.GRANT and self._settings.exchange:
                return await self._exchanged(form)
            case _:
                raise Refusal("unsupported_grant_type", "this grant is not supported here")

    async def _began(self, sealed: str) -> Response:
        """The tokens of a person who has just signed in."""
        identity = msgspec.convert((await self._sessions.seal()).open(GRANT, sealed), Identity)
        return JSONResponse(await self._sessions.begin(identity))

    async def _exchanged(self, form: dict[str, str]) -> Response:
        found = await self._exchange.exchange(form)
        token = await self._sessions.issue(found.claims, found.seconds)
        log.info("sign-in: a token of %s was exchanged for %r", found.claims["idp"], found.claims["sub"])
        kind = {"issued_token_type": exchange.ISSUED_TYPE, "token_type": "Bearer"}
        return JSONResponse({"access_token": token, "expires_in": found.seconds, **kind})

    async def revoke(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc7009; whoever holds a token may end it."""
        form = await forms.read(request)
        keys, _ = parse(await self._keys.jwks())
        await self._sessions.revoke(_needed(form, "token"), Trusted(own_tokens.issuer(self._settings), Fixed(keys)))
        return JSONResponse({})


def _needed(form: dict[str, str], name: str) -> str:
    """Raises Refusal."""
    if not form.get(name):
        raise Refusal("invalid_request", f"{name} is missing")
    return form[name]


def _as_oauth(handler: Handler) -> Handler:
    """Refusals become OAuth's errors, and a line in the log but for those that every sign-in brings."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as refusal:
            if refusal.error not in _PENDING:
                where = f"{request.url.path} for {address_of(request)}"
                log.warning("sign-in: %s: %s: %s", where, refusal.error, refusal.reason)
            body = {"error": refusal.error}
            if refusal.error not in _PENDING:
                body["error_description"] = str(refusal)
            after = {"retry-after": "5"} if refusal.status in {429, 503} else {}
            return JSONResponse(body, refusal.status, after)

    return answered
