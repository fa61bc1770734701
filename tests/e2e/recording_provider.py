"""A provider that writes down every request that arrives, whatever its method, and answers as it is told."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.e2e.serving import serving

CHAT_ANSWER = (
    b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop","message":'
    b'{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE")


@dataclass(frozen=True)
class Seen:
    method: str
    target: str
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes


class RecordingProvider:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.url = ""
        self.answer()

    def answer(self, status: int = 200, body: bytes = CHAT_ANSWER, **headers: Any) -> None:
        """To all requests from now on; what was seen before is forgotten. `headers`: names with `_` for `-`."""
        self.seen.clear()
        self._status, self._body = status, body
        self._headers = {"content_type": "application/json", **headers}

    @contextlib.contextmanager
    def serving(self) -> Iterator["RecordingProvider"]:
        with serving(self._handler()) as self.url:
            yield self

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                pass

        def handle(handler: BaseHTTPRequestHandler) -> None:
            body = handler.rfile.read(int(handler.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in handler.headers.items()}
            provider.seen.append(Seen(handler.command, handler.path, headers, body))
            handler.send_response(provider._status)
            for name, value in provider._headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("content-length", str(len(provider._body)))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(provider._body)

        for method in METHODS:
            setattr(Handler, f"do_{method}", handle)
        return Handler
