"""An upstream that answers with recorded bytes: what it says to a request is chosen by the model's name in it, or
by the path where it has no body."""

import contextlib
import itertools
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Canned:
    body: bytes
    status: int = 200
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: tuple[int, ...] = ()
    """Where the body is cut into pieces that are sent one by one."""


@dataclass
class Upstream:
    url: str
    answers: dict[str, Canned] = field(default_factory=dict)
    received: dict[str, Json] = field(default_factory=dict)
    """The last request for each model."""
    paths: dict[str, str] = field(default_factory=dict)
    """Where it went."""
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """What it came with, in lower case."""


@contextlib.contextmanager
def upstream(tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    found = Upstream("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found.received[body["model"]] = body
            found.paths[body["model"]] = self.path
            found.headers[body["model"]] = {name.lower(): value for name, value in self.headers.items()}
            self._send(found.answers[body["model"]])

        def do_GET(self) -> None:
            self._send(found.answers[self.path.partition("?")[0]])

        def _send(self, canned: Canned) -> None:
            self.send_response(canned.status)
            for name, value in {"content-type": canned.media, **canned.headers}.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            edges = [0, *canned.cuts, len(canned.body)]
            for begin, end in itertools.pairwise(edges):
                if piece := canned.body[begin:end]:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http{'s' if tls else ''}://localhost:{server.server_address[1]}/v1"
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
