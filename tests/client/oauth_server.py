"""The sign-in of a gateway in small: device flow, code with PKCE, refresh with rotation, revocation, token exchange.

It answers as a gateway does; what stands in for the person in the browser is `approve` and `deny`.
"""

import base64
import contextlib
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
KEY = "a secret of the tests, long enough for HS256"
Json = dict[str, Any]
Answer = tuple[int, Json]


def error(name: str, status: int = 400) -> Answer:
    return status, {"error": name}


@dataclass
class OAuthServer:
    url: str = ""
    lifetime: int = 3600
    interval: float = 0.01
    claims: Json = field(default_factory=lambda: {"sub": "ann", "email": "ann@corp.example", "groups": ["dev", "ops"]})
    metadata: Json = field(default_factory=dict)
    """Members to add, replace, or (None) leave out."""
    headers: dict[str, str] = field(default_factory=dict)
    scripted: list[Answer] = field(default_factory=list)
    """Answers that the token endpoint gives before its own."""
    device: Json = field(default_factory=dict)
    """Members to add to a device authorization."""
    polls: int = 0
    refreshes: int = 0
    forms: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and form of each request."""
    revoked: list[str] = field(default_factory=list)
    codes: dict[str, str] = field(default_factory=dict)
    """Device codes, and what has become of them: pending, approved, denied."""
    challenges: dict[str, Json] = field(default_factory=dict)
    """Authorization codes, with the request that each belongs to."""
    refresh_tokens: set[str] = field(default_factory=set)

    def approve(self) -> None:
        self.codes = dict.fromkeys(self.codes, "approved")

    def deny(self) -> None:
        self.codes = dict.fromkeys(self.codes, "denied")

    def discovery(self) -> Answer:
        found: Json = {
            "issuer": self.url,
            "device_authorization_endpoint": f"{self.url}/oauth/device_authorization",
            "authorization_endpoint": f"{self.url}/oauth/authorize",
            "token_endpoint": f"{self.url}/oauth/token",
            "revocation_endpoint": f"{self.url}/oauth/revoke",
            "code_challenge_methods_supported": ["S256"],
        } | self.metadata
        return 200, {name: value for name, value in found.items() if value is not None}

    def post(self, path: str, form: dict[str, str]) -> Answer:
        self.forms.append((path, form))
        if path == "/oauth/device_authorization":
            return 200, self.begin()
        if path == "/oauth/revoke":
            self.revoked.append(form["token"])
            return 200, {}
        if path != "/oauth/token":
            return error("not_found", 404)
        if self.scripted:
            return self.scripted.pop(0)
        match form.get("grant_type"):
            case "refresh_token":
                return self.refresh(form["refresh_token"])
            case "authorization_code":
                return self.code(form)
            case grant if grant == DEVICE:
                return self.poll(form["device_code"])
            case grant if grant == EXCHANGE:
                return (200, self.tokens()) if form["subject_token"] == "workload" else error("invalid_grant")
        return error("unsupported_grant_type")

    def begin(self) -> Json:
        code = secrets.token_urlsafe(16)
        self.codes[code] = "pending"
        page = f"{self.url}/device"
        pages = {"verification_uri": page, "verification_uri_complete": f"{page}?user_code=QWYB-MXWQ"}
        limits = {"expires_in": 600, "interval": self.interval}
        return {"device_code": code, "user_code": "QWYB-MXWQ", **pages, **limits, **self.device}

    def poll(self, code: str) -> Answer:
        self.polls += 1
        state = self.codes.get(code)
        if state == "approved":
            del self.codes[code]
            return 200, self.tokens()
        names = {"pending": "authorization_pending", "denied": "access_denied"}
        return error(names.get(state or "", "expired_token"))

    def refresh(self, token: str) -> Answer:
        if token not in self.refresh_tokens:
            return error("invalid_grant", 401)
        self.refresh_tokens.remove(token)
        self.refreshes += 1
        return 200, self.tokens()

    def code(self, form: dict[str, str]) -> Answer:
        asked = self.challenges.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if asked is None or (asked["code_challenge"], asked["redirect_uri"]) != (
            challenge.decode(),
            form["redirect_uri"],
        ):
            return error("invalid_grant")
        return 200, self.tokens()

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent once the person has agreed."""
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        code = secrets.token_urlsafe(16)
        self.challenges[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def tokens(self) -> Json:
        refresh_token = secrets.token_urlsafe(16)
        self.refresh_tokens.add(refresh_token)
        access = jwt.encode({**self.claims, "jti": secrets.token_urlsafe(8)}, KEY, "HS256")
        return {"access_token": access, "refresh_token": refresh_token, "token_type": "Bearer"} | {
            "expires_in": self.lifetime
        }


@contextlib.contextmanager
def oauth_server() -> Iterator[OAuthServer]:
    found = OAuthServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = urlsplit(self.path)
            if where.path == "/oauth/authorize":
                query = {name: values[0] for name, values in parse_qs(where.query).items()}
                self.answer(302, {}, location=found.authorize(query))
            elif where.path == "/.well-known/oauth-authorization-server":
                self.answer(*found.discovery())
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            self.answer(*found.post(self.path, {name: values[0] for name, values in parse_qs(body).items()}))

        def answer(self, status: int, fields: Json, **headers: str) -> None:
            body = json.dumps(fields).encode()
            self.send_response_only(status)
            self.send_header("content-length", str(len(body)))
            for name, value in {"date": self.date_time_string(), **found.headers, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
