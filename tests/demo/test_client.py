import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from extproc.demo import checks, client
from tests.demo.test_checks import MESSAGE, error, stream, weather

Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def gateway(reply: Callable[[dict[str, Any], dict[str, Any]], Reply]) -> Iterator[str]:
    """Answers by the claims of the token and the body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/messages"
            body = msgspec.json.decode(self.rfile.read(int(self.headers["content-length"])))
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            claims = jwt.decode(token, options={"verify_signature": False}) if token else {}
            status, headers, answer = reply(claims, body)
            self.send_response(status)
            for pair in headers.items():
                self.send_header(*pair)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def good(claims: dict[str, Any], body: dict[str, Any]) -> Reply:
    if not claims:
        return 401, {"WWW-Authenticate": "Bearer"}, msgspec.json.encode(error("authentication_error"))
    if claims["team"] != "data-platform":
        return 403, {}, msgspec.json.encode(error("permission_error"))
    if body.get("stream"):
        return 200, {"content-type": "text/event-stream"}, stream(weather()).body
    return 200, {"content-type": "application/json"}, msgspec.json.encode(MESSAGE)


def test_all_as_expected(tmp_path: Path) -> None:
    out = io.StringIO()
    with gateway(good) as url:
        assert client.run(url, tmp_path / "keys", out) == 0
    shown = out.getvalue()
    assert shown.endswith("\nAll as expected.\n")
    assert "-> 401\n   WWW-Authenticate: Bearer\n".lower() in shown.lower()
    assert all(f"\n{number}. " in shown for number in (1, 2, 3, 4))


def test_no_token_is_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = client.post

    def post(url: str, body: dict[str, Any], token: str) -> checks.Answer:
        seen.append(token)
        return real(url, body, token)

    monkeypatch.setattr(client, "post", post)
    out = io.StringIO()
    with gateway(good) as url:
        client.run(url, tmp_path, out)
    tokens = [token for token in seen if token]
    assert len(tokens) == 3
    assert all(part not in out.getvalue() for token in tokens for part in token.split(".")[1:])


def test_what_differs_is_named(tmp_path: Path) -> None:
    out = io.StringIO()
    with gateway(
        lambda claims, body: good({**claims, "team": "data-platform"}, body) if claims else good({}, {})
    ) as url:
        assert client.run(url, tmp_path, out) == 1
    assert "NOT AS EXPECTED: status is 200, not 403" in out.getvalue()
    assert out.getvalue().endswith("\nNot as expected: A valid token of the wrong team.\n")


def test_a_gateway_that_hangs_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            for _ in range(4):
                listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        out = io.StringIO()
        assert client.run(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, out) == 1
        thread.join()
    assert out.getvalue().count("NOT AS EXPECTED: no answer") == 4


def test_no_gateway(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    out = io.StringIO()
    assert client.run(f"http://127.0.0.1:{port}", tmp_path, out) == 1
    assert out.getvalue().endswith(
        f"No gateway listens at http://127.0.0.1:{port}. Start one in another shell: make up\n"
    )


def test_long_answers_are_cut(tmp_path: Path) -> None:
    long = {**MESSAGE, "content": [{"type": "text", "text": "x" * 500} for _ in range(30)]}

    def reply(claims: dict[str, Any], body: dict[str, Any]) -> Reply:
        status, headers, answer = good(claims, body)
        return status, headers, msgspec.json.encode(long) if status == 200 and not body.get("stream") else answer

    out = io.StringIO()
    with gateway(reply) as url:
        assert client.run(url, tmp_path, out) == 0
    assert max(map(len, out.getvalue().splitlines())) < 180
    assert "more lines" in out.getvalue()
