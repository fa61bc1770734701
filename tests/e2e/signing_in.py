"""What people do to sign in: the browser's steps at the gateway's pages and at a real OpenID provider."""

import html
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.e2e.stack import SECONDS, Json, Stack, free_port

ROOT = Path(__file__).resolve().parents[2]
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLAIMS = {"email": "alice@corp.example", "name": "Alice", "groups": ["developers"]}


class _Gate(socketserver.ThreadingTCPServer):
    """Passes bytes on to a port of loopback, or closes connections."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", free_port()), _Passage)
        self.port = port
        self.closed = False
        self.open: set[socket.socket] = set()

    def close(self) -> None:
        self.closed = True
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Passage(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Gate)
        if self.server.closed:
            return
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.port), SECONDS) as behind:
            answers = threading.Thread(target=_pump, args=(behind, self.request), daemon=True)
            answers.start()
            self.server.open.add(self.request)
            _pump(self.request, behind)
            answers.join()
            self.server.open.discard(self.request)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class Idp:
    """The package oidc-provider-mock on plain HTTP of loopback, in a process of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._gate = _Gate(self.port)
        self.url = f"http://127.0.0.1:{self._gate.server_address[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(self.port), "--host", "127.0.0.1"]
        threading.Thread(target=self._gate.serve_forever, args=(0.05,), daemon=True).start()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        deadline = time.monotonic() + SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline and self._process.poll() is None
            time.sleep(0.05)

    def stop(self) -> None:
        self._gate.shutdown()
        self._gate.server_close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None

    def pause(self) -> None:
        """Every connection is closed until `resume`; what it knows stays."""
        self._gate.close()

    def resume(self) -> None:
        self._gate.closed = False

    def user(self, sub: str, **claims: Any) -> None:
        httpx.put(f"{self.url}/users/{sub}", json=CLAIMS | claims, verify=False).raise_for_status()

    def disable(self, sub: str) -> None:
        """All tokens of this person are void at the provider."""
        httpx.post(f"{self.url}/users/{sub}/revoke-tokens", verify=False).raise_for_status()


@contextmanager
def idp() -> Iterator[Idp]:
    server = Idp()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Browser:
    """Follows links and submits forms as a person does; keeps cookies by host, as browsers do."""

    def __init__(self, public_url: str) -> None:
        self.public_url = public_url
        self.client = httpx.Client(timeout=SECONDS, verify=False)

    def close(self) -> None:
        self.client.close()

    def open(self, url: str) -> httpx.Response:
        return self.client.get(url)

    def post(self, path: str, form: dict[str, str], origin: str | None = "") -> httpx.Response:
        """`origin`: empty for the page's own, None for no such header."""
        headers = {} if origin is None else {"origin": origin or self.public_url}
        return self.client.post(self.public_url + path, data=form, headers=headers)

    def confirm(self, user_code: str) -> str:
        """Confirms the code. Returns where the browser goes then."""
        answer = self.post("/device", {"user_code": user_code})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def log_in(self, url: str, sub: str) -> str:
        """At the provider; returns where it sends the browser to."""
        form = {"action": "deny"} if sub == "" else {"sub": sub}
        answer = self.client.post(url, data=form)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def sign_in(self, user_code: str, sub: str = "alice") -> httpx.Response:
        """All steps; the last page."""
        return self.client.get(self.log_in(self.confirm(user_code), sub))


def begin(stack: Stack, **form: str) -> Json:
    form = form or {"surface": "claude_code"}
    answer = httpx.post(f"{stack.url}/oauth/device_authorization", data=form, verify=False)
    assert answer.status_code == 200, answer.text
    answered: Json = answer.json()
    return answered


def token(stack: Stack, **form: str) -> httpx.Response:
    return httpx.post(f"{stack.url}/oauth/token", data=form, timeout=SECONDS, verify=False)


def poll(stack: Stack, device_code: str) -> httpx.Response:
    return token(stack, grant_type=DEVICE_GRANT, device_code=device_code)


def signed_in(stack: Stack, browser: Browser, sub: str = "alice") -> Json:
    """The tokens of a new sign-in."""
    codes = begin(stack)
    page = browser.sign_in(codes["user_code"], sub)
    assert page.status_code == 200, page.text
    answer = poll(stack, codes["device_code"])
    assert answer.status_code == 200, answer.text
    answered: Json = answer.json()
    return answered


def words(page: httpx.Response) -> str:
    """The text of a page."""
    body = re.sub(r"(?s)<style.*?</style>", "", page.text)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def query(url: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}
