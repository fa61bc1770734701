"""An HTTP server for key sets: what it answers is changed while it runs, and every request is counted."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    """Nothing comes until the server ends."""


@dataclass
class KeyServer:
    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The paths, in order."""

    def serve(self, *entries: dict[str, Any], path: str = "/jwks", **headers: str) -> None:
        """A JWKS; `headers` with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = Answer(json.dumps({"keys": entries}).encode(), headers=named)

    def serve_json(self, path: str, value: Any) -> None:
        self.answers[path] = Answer(json.dumps(value).encode())


@contextlib.contextmanager
def key_server(tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[KeyServer]:
    found, over = KeyServer(""), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = found.answers.get(self.path, Answer(status=404))
            if answer.hangs:
                found.asked.append(self.path)
                over.wait()
                return
            with contextlib.suppress(ConnectionError, ssl.SSLError):  # a client that has heard enough
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
            found.asked.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not trust us is no error of the server's."""

    with Server(("127.0.0.1", port), Handler) as server:
        found.url = f"http{'s' if tls else ''}://localhost:{server.server_address[1]}"
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            server.shutdown()
            thread.join()
