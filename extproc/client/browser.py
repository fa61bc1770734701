"""Sign-in in this machine's browser: authorization code with PKCE and a loopback redirect (RFC 8252, section 7.3)."""

import base64
import hashlib
import html
import queue
import secrets
import threading
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from extproc.client import oauth
from extproc.client.connection import ClientError
from extproc.client.oauth import Server, Tokens
from extproc.printable import printable

# Without `offline_access` an OpenID provider may give no refresh token:
# https://openid.net/specs/openid-connect-core-1_0.html#OfflineAccess
SCOPE: Final = "openid profile email offline_access"
PATH: Final = "/callback"
WAIT_SECONDS: Final = 600.0
SOCKET_SECONDS: Final = 10.0
PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font:1.1rem sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}}</style>
<h1>{title}</h1><p>{text}</p></html>
"""

Answer = dict[str, str]
"""The parameters of a redirect."""


def sign_in(
    server: Server,
    show: Callable[[str], None],
    open_browser: Callable[[str], bool] | None = None,
    wait: float = WAIT_SECONDS,
) -> Tokens:
    """Sends the browser to the server's sign-in and waits until it comes back with a code.

    `show` gets a line for the terminal. Raises ClientError when the sign-in was refused or nobody finished it.
    """
    if server.authorization is None:
        raise ClientError(f"{server.name} offers no sign-in by redirect; leave out --browser")
    # A verifier has 43 to 128 characters: https://www.rfc-editor.org/rfc/rfc7636#section-4.1.
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    with _Listener(state) as listener:
        page = _authorization_url(server, listener.redirect_uri, state, verifier)
        show(f"To sign in, finish in the browser. If none opens, open this address on this machine:\n  {page}")
        (open_browser or webbrowser.open)(page)
        answer = listener.wait(wait)
    # RFC 9207: an answer that another server gave must not be taken to this one.
    if server.issuer is not None and answer.get("iss") != server.issuer:
        raise ClientError(f"the browser came back from another server than {server.name}; nothing was kept")
    if "code" not in answer:
        detail = ": ".join(printable(answer[name]) for name in ("error", "error_description") if name in answer)
        raise ClientError(f"{server.name} refused the sign-in ({detail or 'without a reason'})")
    return oauth.exchange_code(server, answer["code"], listener.redirect_uri, verifier)


def _authorization_url(server: Server, redirect_uri: str, state: str, verifier: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": server.client_id,
        "redirect_uri": redirect_uri,
        "scope": SCOPE,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    page = str(server.authorization)
    return f"{page}{'&' if urlsplit(page).query else '?'}{urlencode(query)}"


class _Listener:
    """Takes the one redirect with the right `state`, and nothing else."""

    def __init__(self, state: str) -> None:
        self._answers = queue.SimpleQueue[Answer]()
        # An address, since `localhost` may be another's (https://www.rfc-editor.org/rfc/rfc8252#section-8.3), and any
        # free port, which the server must accept (https://www.rfc-editor.org/rfc/rfc8252#section-7.3).
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state, self._answers))
        self._server.daemon_threads = True  # browsers open connections that they never use
        self.redirect_uri = f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> Answer:
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            raise ClientError(f"nobody finished the sign-in within {seconds / 60:.0f} minutes") from None


def _handler(state: str, answers: "queue.SimpleQueue[Answer]") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SOCKET_SECONDS

        def do_GET(self) -> None:
            where = urlsplit(self.path)
            found = {name: values[0] for name, values in parse_qs(where.query).items()}
            # Any page in the browser can send it here; only the sign-in that was begun knows the state
            # (https://www.rfc-editor.org/rfc/rfc6749#section-10.12).
            if where.path != PATH or not secrets.compare_digest(found.get("state", "").encode(), state.encode()):
                self._show(404, "Not this page", "This address waits for a sign-in that was begun elsewhere.")
                return
            if "code" in found:
                self._show(200, "Go on in the terminal", "You can close this page.")
            else:
                self._show(200, "You are not signed in", "The terminal says why. You can close this page.")
            answers.put(found)

        def _show(self, status: int, title: str, text: str) -> None:
            body = PAGE.format(title=html.escape(title), text=html.escape(text)).encode()
            self.send_response(status)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.send_header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
            self.send_header("cache-control", "no-store")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The code must not be shown."""

    return Handler
