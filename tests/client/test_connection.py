import socket
import ssl
from pathlib import Path

import pytest

from extproc.client import connection
from extproc.client.connection import ClientError, Unreachable, gateway_url
from tests.certificates import certificate
from tests.client.oauth_server import OAuthServer
from tests.key_server import Answer, key_server


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://LLM.corp.example/", "https://llm.corp.example"),
        ("https://llm.corp.example:443", "https://llm.corp.example"),
        (" https://llm.corp.example:8443/claude/ ", "https://llm.corp.example:8443/claude"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_a_gateway_has_one_name(given: str, kept: str) -> None:
    assert gateway_url(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "llm.corp.example",
        "",
        "ftp://llm.corp.example",
        "https://",
        "https://host:port",
        "https://a@b",
        "https://h/?q",
        "http://[",
    ],
)
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ClientError, match="is not a gateway's address"):
        gateway_url(given)


@pytest.mark.parametrize("host", ["llm.corp.example", "10.0.0.1", "localhost.corp.example"])
def test_plain_http_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(ClientError, match="would send tokens unencrypted: use https://"):
        gateway_url(f"http://{host}:8080")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match=f"cannot reach http://127.0.0.1:{port}: .*refused"):
        connection.get(f"http://127.0.0.1:{port}/path")


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(Unreachable, match=r"cannot reach https://llm\.invalid"):
        connection.get("https://llm.invalid/path")


def test_no_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_SECONDS", 0.2)
    with key_server() as server:
        server.answers["/"] = Answer(hangs=True)
        with pytest.raises(Unreachable, match="did not answer within"):
            connection.get(f"{server.url}/")


def test_a_body_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_BYTES", 1000)
    with key_server() as server:
        server.answers["/"] = Answer(b"x" * 1001)
        with pytest.raises(ClientError, match="too long"):
            connection.get(f"{server.url}/")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"\xff"])
def test_what_is_no_json_object(body: bytes) -> None:
    with key_server() as server:
        server.answers["/"] = Answer(body, status=502)
        assert connection.get(f"{server.url}/").describe() == "HTTP 502"


def test_redirects_are_not_followed(gateway: OAuthServer) -> None:
    query = "response_type=code&code_challenge_method=S256&redirect_uri=/x&state=s"
    assert connection.get(f"{gateway.url}/oauth/authorize?{query}").status == 302


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with key_server(context) as server, pytest.raises(Unreachable, match=r"is not trusted .*SSL_CERT_FILE"):
        connection.get(f"{server.url}/")


def test_a_companys_own_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    connection.trust.cache_clear()
    try:
        with key_server(context) as server:
            server.serve_json("/", {"a": 1})
            assert connection.get(f"{server.url}/").fields == {"a": 1}
    finally:
        connection.trust.cache_clear()


@pytest.mark.parametrize(("date", "offset"), [("Sun, 29 Nov 2026 10:00:00 GMT", True), ("soon", False)])
def test_the_servers_clock(gateway: OAuthServer, date: str, offset: bool) -> None:
    gateway.headers["date"] = date
    reply = connection.get(f"{gateway.url}/.well-known/oauth-authorization-server")
    assert (reply.clock_offset is not None) is offset
