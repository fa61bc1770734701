"""The lab's login: an OpenID Connect provider on loopback with a page on which anybody can choose who to be.

python -m extproc.demo.login --port 0

For trying a sign-in on a laptop. Codes and refresh tokens are kept in memory; the key is the lab's (`idp`).
"""

import base64
import hashlib
import html
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from extproc.demo import idp, serving
from extproc.demo.http1 import Headers, Request
from extproc.demo.reply import Reply

Json = dict[str, Any]
Form = dict[str, str]
CODE_SECONDS, TOKEN_SECONDS = 60, 300
PEOPLE: dict[str, Json] = {
    "ada": {"name": "Ada", "groups": ["developers", "data"], "org": "acme", "team": "data-platform"},
    "max": {"name": "Max", "groups": ["visitors"], "org": "acme", "team": "marketing"},
}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Code(msgspec.Struct, frozen=True):
    """What an authorization code stands for."""

    person: str
    client_id: str
    redirect_uri: str
    nonce: str
    challenge: str
    until: float


class Login:
    root = ""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the lab's keys."""
        idp.ensure_keys(folder)
        self._pem = (folder / idp.PRIVATE).read_bytes()
        self._jwks = (folder / idp.PUBLIC).read_bytes()
        self._codes: dict[str, Code] = {}
        self._refresh: dict[str, Code] = {}

    def refusal(self, status: int, message: str) -> Reply:
        return _json({"error": "invalid_request", "error_description": message}, status)

    def headers(self, nonce: str, milliseconds: int) -> Headers:
        return [("cache-control", "no-store")]

    def reply(self, request: Request, nonce: str, now: int) -> Reply:
        issuer = "http://" + request.header("host")
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        match request.method, request.path:
            case "GET", "/.well-known/openid-configuration":
                return _json(_metadata(issuer))
            case "GET", "/jwks":
                return Reply(pieces=(self._jwks,))
            case "GET" | "POST", "/authorize":
                return self._authorize(issuer, dict(parse_qsl(urlsplit(request.target).query)), form, now)
            case "POST", "/token":
                return self._token(issuer, form, _client(request, form), now)
            case _:
                return self.refusal(404, "there is nothing here")

    def _authorize(self, issuer: str, query: Form, form: Form, now: int) -> Reply:
        redirect = query.get("redirect_uri", "")
        if urlsplit(redirect).hostname not in _LOOPBACK or query.get("response_type") != "code":
            return self.refusal(400, "expected response_type=code and a redirect_uri on this machine")
        if query.get("code_challenge_method") != "S256":
            return self.refusal(400, "expected PKCE with S256")
        if not form:
            return _page()
        back = {"state": query.get("state", ""), "iss": issuer}
        if (person := form.get("person", "")) not in PEOPLE:
            return _redirect(redirect, {"error": "access_denied", **back})
        code = secrets.token_urlsafe(24)
        client, nonce, challenge = (query.get(name, "") for name in ("client_id", "nonce", "code_challenge"))
        self._codes[code] = Code(person, client, redirect, nonce, challenge, now + CODE_SECONDS)
        return _redirect(redirect, {"code": code, **back})

    def _token(self, issuer: str, form: Form, client: str, now: int) -> Reply:
        grant = form.get("grant_type")
        if grant == "refresh_token":
            found = self._refresh.pop(form.get("refresh_token", ""), None)
            fits = found is not None
        elif grant == "authorization_code":
            found = self._codes.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            fits = found is not None and found.challenge == challenge and now < found.until
            fits = fits and found is not None and found.redirect_uri == form.get("redirect_uri")
        else:
            return _json({"error": "unsupported_grant_type"}, 400)
        if found is None or not fits or found.client_id != client:
            return _json({"error": "invalid_grant"}, 400)
        refresh = secrets.token_urlsafe(24)
        self._refresh[refresh] = found
        claims = {"iss": issuer, "aud": client, "sub": found.person, "iat": now, "exp": now + TOKEN_SECONDS}
        claims |= {"email": f"{found.person}@acme.example", **PEOPLE[found.person]}
        if grant == "authorization_code" and found.nonce:
            claims["nonce"] = found.nonce
        tokens = {"id_token": idp.sign(claims, self._pem), "access_token": secrets.token_urlsafe(24)}
        return _json({**tokens, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "refresh_token": refresh})


def _metadata(issuer: str) -> Json:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


def _client(request: Request, form: Form) -> str:
    """Returns the name of the client that redeems a code. Its secret is not checked."""
    kind, _, pair = request.header("authorization").partition(" ")
    if kind.lower() == "basic":
        return base64.b64decode(pair).decode("utf-8", "replace").partition(":")[0]
    return form.get("client_id", "")


def _json(value: Json, status: int = 200) -> Reply:
    return Reply(status=status, pieces=(json.dumps(value).encode(),))


def _redirect(to: str, query: Form) -> Reply:
    location = to + ("&" if urlsplit(to).query else "?") + urlencode(query)
    return Reply(status=302, headers=(("location", location),), pieces=(b"",))


def _page() -> Reply:
    rows = [
        f'<p><button name="person" value="{name}">{html.escape(person["name"])}'
        f" ({html.escape(', '.join(person['groups']))})</button></p>"
        for name, person in PEOPLE.items()
    ]
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Lab login</title>'
        '<body style="font:1.1rem system-ui;max-width:30rem;margin:2rem auto;padding:0 1rem"><h1>Lab login</h1>'
        '<p>This stands for your company\'s login. Who are you?</p><form method="post">'
        + "".join(rows)
        + '<p><button name="person" value="nobody">Cancel</button></p></form></body></html>'
    )
    return Reply(content_type="text/html; charset=utf-8", pieces=(text.encode(),))


def main(argv: Sequence[str] | None = None) -> int:
    """The folder of the lab's keys comes from LAB_KEYS."""
    folder = Path(os.environ.get("LAB_KEYS", "keys"))
    return serving.main(lambda _: Login(folder), "extproc.demo.login", "The lab's login (OpenID Connect).", argv)


if __name__ == "__main__":
    sys.exit(main())
