"""The authorization code flow for a program on a person's own machine: PKCE, and a redirect to its loopback address.

https://www.rfc-editor.org/rfc/rfc8252#section-7.3, https://www.rfc-editor.org/rfc/rfc7636
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from extproc.sign_in.refusals import Refusal
from extproc.store.interface import Store

PATH = "/oauth/authorize"
GRANT = "authorization_code"
CLIENT_ID = "extproc"
CODE_SECONDS = 60.0
MAX_STATE = 500
# Any port, since a program takes one that is free; not `localhost`, which need not lead to the loopback interface:
# https://www.rfc-editor.org/rfc/rfc8252#section-8.3
_REDIRECT = re.compile(r"(http://127\.0\.0\.1:[1-9][0-9]{0,4})/callback")
# SHA-256 in base64url without padding, and a verifier of 43 to 128 characters: RFC 7636, sections 4.1 and 4.2.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_OVER = "this code has expired or has been used; begin again"


class AuthorizationRequest(msgspec.Struct, frozen=True):
    """What a program asks for. Its form makes sure that an answer goes to the person's own machine."""

    redirect_uri: str
    state: str
    challenge: str

    @property
    def origin(self) -> str:
        return self.redirect_uri.rpartition("/")[0]

    @property
    def fields(self) -> dict[str, str]:
        """The parameters that make the same request again."""
        asked = {"redirect_uri": self.redirect_uri, "state": self.state, "code_challenge": self.challenge}
        return {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256", **asked}

    def answer(self, issuer: str, **parameters: str) -> str:
        """Where the browser goes with a code or an error. `iss`: https://www.rfc-editor.org/rfc/rfc9207"""
        return f"{self.redirect_uri}?{urlencode({**parameters, 'state': self.state, 'iss': issuer})}"


def read(query: Mapping[str, str]) -> AuthorizationRequest:
    """Raises Refusal. Such an answer is a page: nobody is redirected by a request that is not understood."""
    needed = {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256"}
    for name, value in needed.items():
        if query.get(name) != value:
            raise Refusal("invalid_request", f"this link is not one of the extproc command: {name} must be {value}")
    request = AuthorizationRequest(
        query.get("redirect_uri", ""), query.get("state", ""), query.get("code_challenge", "")
    )
    if not _REDIRECT.fullmatch(request.redirect_uri):
        reason = "redirect_uri must be http://127.0.0.1:PORT/callback"
        raise Refusal("invalid_request", f"this link is not one of the extproc command: {reason}")
    if not 0 < len(request.state) <= MAX_STATE or not _CHALLENGE.fullmatch(request.challenge):
        reason = "state or code_challenge is missing or malformed"
        raise Refusal("invalid_request", f"this link is not one of the extproc command: {reason}")
    return request


class _Issued(msgspec.Struct, frozen=True):
    redirect_uri: str
    challenge: str
    grant: str
    """Sealed: who signed in."""


class Codes:
    """Authorization codes: in the store, so that any machine can redeem one, once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def issue(self, request: AuthorizationRequest, grant: str) -> str:
        """Raises StoreDown."""
        code = secrets.token_urlsafe(32)
        issued = msgspec.json.encode(_Issued(request.redirect_uri, request.challenge, grant))
        await self._store.put(_entry(code), issued, CODE_SECONDS)
        return code

    async def redeem(self, form: Mapping[str, str]) -> str:
        """The sealed grant of a code. The code is void then, whatever comes of it. Raises Refusal, StoreDown."""
        raw = await self._store.take(_entry(form.get("code", "")))
        if raw is None:
            raise Refusal("invalid_grant", _OVER, reason="an authorization code that is unknown or was used")
        issued = msgspec.json.decode(raw, type=_Issued)
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(digest, issued.challenge):
            raise Refusal("invalid_grant", _OVER, reason="an authorization code with another code_verifier")
        if (form.get("client_id"), form.get("redirect_uri")) != (CLIENT_ID, issued.redirect_uri):
            raise Refusal("invalid_grant", _OVER, reason="an authorization code with another redirect_uri or client_id")
        return issued.grant


def _entry(code: str) -> str:
    return f"sign-in/code/{hashlib.sha256(code.encode()).hexdigest()}"
