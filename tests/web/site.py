"""The sign-in's pages and endpoints in this process, with a scripted identity provider and a clock of the test's."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.types import ASGIApp

from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.keys.places import JwksLocation
from extproc.policy.keys.remote_keys import FetchedKeySets
from extproc.sign_in.signing_keys import SigningKeys
from extproc.store.embedded import EmbeddedStore
from extproc.store.interface import Store
from extproc.transport import control
from extproc.transport.control import BudgetAnswer, BudgetCommand
from extproc.web.app import application
from extproc.web.context import Clients, Context
from extproc.web.topics import ADDRESS_HEADER
from tests import issuing
from tests.settings import GATEWAY, gateway

URL, ISSUER, CLIENT = "https://llm.corp.example", "https://idp.corp.example", "llm-gateway"
ADDRESS = "192.0.2.7"
CONSOLE = """console: {allow: ['"operators" in jwt.groups']}"""
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SIGN_IN: dict[str, Any] = {"public_url": URL, "issuer": ISSUER, "client_id": CLIENT}
Json = dict[str, Any]


class Idp:
    """Answers as a provider does; a test changes what it says."""

    def __init__(self) -> None:
        self.metadata: Json = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        self.down = False
        self.claims: Json = {"sub": "alice", "email": "alice@corp.example", "groups": ["developers"]}
        self.id_token: Json = {}
        """Claims of the next id_token that differ from what they should be; None takes one away."""
        self.header: Json = {}
        self.userinfo: Json = {}
        self.userinfo_status = 200
        self.tokens: Json = {}
        """Members of the token endpoint's next answers."""
        self.status = 200
        self.asked: list[tuple[str, dict[str, str], Mapping[str, str]]] = []
        self.pause = 0.0
        self.now = time.time
        self._nonces: dict[str, str] = {}
        self._challenges: dict[str, str] = {}

    def code(self, location: str) -> str:
        """What a person who signs in brings back from the authorization endpoint."""
        query = fields(location)
        code = f"code-{len(self._nonces)}"
        self._nonces[code], self._challenges[code] = query["nonce"], query["code_challenge"]
        return code

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        form = {name: value for name, [value] in parse_qs(request.content.decode()).items()}
        self.asked.append((request.url.path, form, request.headers))
        if self.down:
            raise httpx.ConnectError("no")
        match request.url.path:
            case "/.well-known/openid-configuration":
                return httpx.Response(200, json=self.metadata)
            case "/jwks":
                return httpx.Response(200, json={"keys": [issuing.jwk()]})
            case "/token":
                await asyncio.sleep(self.pause)
                return self._token(form)
            case "/userinfo":
                return httpx.Response(self.userinfo_status, json=self.userinfo)
            case "/revoke":
                return httpx.Response(200)
            case _:
                return httpx.Response(404)

    def _token(self, form: dict[str, str]) -> httpx.Response:
        if self.status != 200:
            return httpx.Response(self.status, json=self.tokens)
        nonce: Json = {}
        if form["grant_type"] == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if self._challenges.pop(form["code"], "") != challenge:
                return httpx.Response(400, json={"error": "invalid_grant"})
            nonce = {"nonce": self._nonces[form["code"]]}
        now = int(self.now())
        claims: Json = (
            {"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 300} | nonce | self.claims | self.id_token
        )
        payload = {name: value for name, value in claims.items() if value is not None}
        answer: Json = {
            "id_token": issuing.token(payload, header=self.header),
            "refresh_token": f"idp-{len(self.asked)}",
            "access_token": "opaque",
        }
        found = {name: value for name, value in (answer | self.tokens).items() if value is not None}
        return httpx.Response(200, json=found)

    def requests(self, path: str) -> list[dict[str, str]]:
        return [form for asked, form, _ in self.asked if asked == path]


class _Clients(Clients):
    def __init__(self, idp: Idp) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(idp), verify=False)

    def trusting(self, roots: str | None = None) -> httpx.AsyncClient:
        return self._client


class Site:
    """What stands behind Envoy."""

    def __init__(self, folder: Path, settings: Json | None = None, store: Store | None = None, more: str = "") -> None:
        """`more`: further sections of the configuration."""
        self.ahead = 0.0
        self.ask_budgets: Callable[[Path, BudgetCommand], BudgetAnswer] = control.ask_budgets
        self.idp = Idp()
        self.idp.now = self.now
        self.store = store or EmbeddedStore(folder / "state", self.now)
        text = f"{GATEWAY}\nsign_in: {json.dumps(SIGN_IN | (settings or {}))}\ntelemetry: {{}}\n{CONSOLE}\n{more}"
        self.gateway = gateway(folder, text)
        self._loop = asyncio.new_event_loop()
        self._keys = FetchedKeySets(self._own_keys, self.now)
        self.run(self._fetch_keys())
        self._app: ASGIApp = self.application()
        self._clients: list[httpx.AsyncClient] = []

    def context(self) -> Context:
        authenticate = Authenticate(self.gateway.source, [], self._keys)
        return Context(self.gateway, authenticate, self.store, _Clients(self.idp), self.now, self.ask_budgets)

    async def _fetch_keys(self) -> None:
        self._keys.use(self.gateway.fetched)
        for news in self._keys.news():
            self._keys.wanted(news.name)
        await self._keys.first_fetches()

    async def _own_keys(self, place: JwksLocation) -> tuple[Any, None]:
        """As the supervisor reads them."""
        return await SigningKeys(self.store, None, self.now).jwks(), None

    def application(self) -> ASGIApp:
        """As another process, or one that has started again, has it."""
        return application(self.context())

    def now(self) -> float:
        return time.time() + self.ahead

    def restart(self) -> None:
        self._app = self.application()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            self._loop.run_until_complete(client.aclose())
        self._loop.run_until_complete(self.store.close())
        self._loop.close()

    def run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)

    def client(self, app: ASGIApp | None = None) -> httpx.AsyncClient:
        """A browser of its own."""
        made = httpx.AsyncClient(transport=httpx.ASGITransport(app or self._app), base_url=URL, verify=False)
        self._clients.append(made)
        return made

    def get(
        self, path: str, browser: httpx.AsyncClient | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        sent = {ADDRESS_HEADER: ADDRESS, **(headers or {})}
        found: httpx.Response = self.run((browser or self.client()).get(path, headers=sent))
        return found

    def post(
        self,
        path: str,
        form: Mapping[str, str] | bytes,
        browser: httpx.AsyncClient | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = {ADDRESS_HEADER: ADDRESS, **(headers or {})}
        body: Any = {"content": form} if isinstance(form, bytes) else {"data": form}
        found: httpx.Response = self.run((browser or self.client()).post(path, headers=sent, **body))
        return found

    def begin(self) -> Json:
        answer: Json = self.post("/oauth/device_authorization", {"surface": "claude_code"}).json()
        return answer

    def confirm(self, user_code: str, browser: httpx.AsyncClient) -> str:
        """Where the browser is sent then."""
        answer = self.post("/device", {"user_code": user_code}, browser, {"origin": URL})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def come_back(self, location: str, browser: httpx.AsyncClient, **changes: str) -> httpx.Response:
        """The provider's redirect to us."""
        query = {"code": self.idp.code(location), "state": fields(location)["state"]} | changes
        return self.get(f"/oauth/callback?{httpx.QueryParams(query)}", browser)

    def approve(self, codes: Json) -> httpx.Response:
        browser = self.client()
        return self.come_back(self.confirm(codes["user_code"], browser), browser)

    def poll(self, codes: Json) -> httpx.Response:
        return self.post("/oauth/token", {"grant_type": DEVICE_GRANT, "device_code": codes["device_code"]})

    def sign_in(self) -> Json:
        """The tokens."""
        codes = self.begin()
        page = self.approve(codes)
        assert page.status_code == 200, page.text
        answer = self.poll(codes)
        assert answer.status_code == 200, answer.text
        tokens: Json = answer.json()
        return tokens

    def refresh(self, refresh_token: str) -> httpx.Response:
        return self.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": refresh_token})


def fields(location: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A gateway's web process without sockets, beside an identity provider."""
    with Site(tmp_path, {"allow": ['"developers" in jwt.groups']}) as made:
        yield made
