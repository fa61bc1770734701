"""Requests to token endpoints: what is trusted, which proxies are used, and what is told of an answer that is none."""

import asyncio
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from extproc.policy.keys.fetch import MAX_BYTES
from extproc.policy.keys.places import NotFetched
from extproc.supervisor.clouds.http import Request, ask, endpoint, read_json, seconds, text
from tests.certificates import certificate
from tests.e2e.stack import free_port
from tests.key_server import Answer, key_server

DEAD = "http://127.0.0.1:1"


def fetched(url: str, roots: str | None = None) -> bytes:
    return asyncio.run(ask(Request(url=url), roots))


def test_only_a_certificate_of_the_named_authority_is_trusted(tmp_path: Path) -> None:
    with key_server(certificate(tmp_path, "localhost")) as server:
        server.answers["/token"] = Answer(b"{}")
        url = f"https://localhost:{urlsplit(server.url).port}/token"
        assert fetched(url, (tmp_path / "ca.pem").read_text()) == b"{}"
        with pytest.raises(NotFetched, match="not trusted"):
            fetched(url)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(b'{"error": "invalid_grant", "error_description": "secret"}', 400), "status 400, invalid_grant"),
        (Answer(b"<E><Code>ExpiredToken</Code><Message>secret</Message></E>", 403), "status 403, ExpiredToken"),
        (Answer(b'{"error": "a secret with blanks"}', 500), "status 500"),
        (Answer(b"", 302, {"location": "http://127.0.0.1:1/"}), "status 302"),
        (Answer(b"x" * (MAX_BYTES + 1)), f"more than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_told_of_other_answers(answer: Answer, says: str) -> None:
    with key_server() as server:
        server.answers["/token"] = answer
        with pytest.raises(NotFetched) as caught:
            fetched(f"{server.url}/token")
        assert str(caught.value) == says


def test_a_metadata_server_is_asked_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, DEAD)
    with key_server() as server:
        server.answers["/token"] = Answer(b"{}")
        assert fetched(f"{server.url}/token") == b"{}"


def test_a_token_endpoint_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", free_port())) as listener:

        def proxy() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=proxy, daemon=True)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(NotFetched):
            fetched("https://sts.eu-central-1.amazonaws.example/")
        thread.join(20)
    assert seen[0].startswith(b"CONNECT sts.eu-central-1.amazonaws.example:443 ")


def test_members_that_are_missing_or_of_another_kind() -> None:
    assert (text({"a": "x"}, "a"), seconds({"a": "3599"}, "a"), seconds({"a": 5}, "a")) == ("x", 3599.0, 5.0)
    for value in (None, "", 5, "a\nb", "ü"):
        with pytest.raises(NotFetched):
            text({"a": value}, "a")
    numbers: tuple[object, ...] = (None, "soon", "nan", "inf", [], 10**400)
    for number in numbers:
        with pytest.raises(NotFetched):
            seconds({"a": number}, "a")
    for body in (b"[]", b"<html>", b"\xff"):
        with pytest.raises(NotFetched):
            read_json(body)


def test_credentials_are_sent_by_https_or_to_this_machine() -> None:
    assert endpoint("http://127.0.0.1:5/x") and endpoint("https://a.example/x")
    with pytest.raises(NotFetched):
        endpoint("http://a.example/x")
