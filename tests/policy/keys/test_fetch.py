import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.policy.keys import fetch
from extproc.policy.keys.places import JwksLocation, NotFetched
from tests.certificates import certificate
from tests.issuing import jwk
from tests.key_server import Answer, KeyServer, key_server

SET = {"keys": [jwk()]}
WELL_KNOWN = fetch.WELL_KNOWN


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as running:
        running.serve_json("/jwks", SET)
        yield running


def fetched(place: JwksLocation) -> tuple[Any, float | None]:
    return asyncio.run(fetch.fetch(place))


def problem(place: JwksLocation) -> str:
    with pytest.raises(NotFetched) as raised:
        fetched(place)
    return str(raised.value)


def test_a_key_set(server: KeyServer) -> None:
    assert fetched(JwksLocation(f"{server.url}/jwks", "i")) == (SET, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "public, max-age=120"}, 120),
        ({"cache-control": 'Max-Age="120"', "age": "20"}, 100),
        ({"cache-control": "max-age=120", "age": "500"}, 0),
        ({"cache-control": "max-age=120", "age": "x"}, 120),
        ({"cache-control": "max-age=1" + "0" * 40}, 1e8),
        ({"cache-control": "no-store, max-age=120"}, 0),
        ({"cache-control": "no-cache"}, 0),
        ({"cache-control": "max-age=soon"}, None),
        ({}, None),
    ],
)
def test_how_long_a_set_may_be_kept(server: KeyServer, headers: dict[str, str], seconds: float | None) -> None:
    server.answers["/jwks"] = Answer(json.dumps(SET).encode(), headers=headers)
    assert fetched(JwksLocation(f"{server.url}/jwks", "i"))[1] == seconds


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(b"{}", status=500), "status 500"),
        (Answer(b"{}", status=204), "status 204"),
        (Answer(b"{"), "not JSON"),
        (Answer(b"\xff"), "not JSON"),
        (Answer(b"[" * 100_000), "not JSON"),
        (Answer(b" " * (fetch.MAX_BYTES + 1)), f"more than {fetch.MAX_BYTES} bytes"),
        (Answer(b"{}", headers={"content-encoding": "gzip"}), "an encoded answer, where none was asked for"),
        (Answer(b"{}", headers={"content-length": "7"}), "a broken answer"),
        (Answer(status=302, headers={"location": "https://evil.example/jwks"}), "a redirect to another host"),
        (Answer(status=302, headers={"location": "//127.0.0.1/jwks"}), "a redirect to another host"),
        (Answer(status=307, headers={"location": "/x"}), "too many redirects"),
    ],
)
def test_what_is_not_accepted(server: KeyServer, answer: Answer, says: str) -> None:
    server.answers["/x"] = answer
    assert problem(JwksLocation(f"{server.url}/x", "i")) == says


def test_a_redirect_on_the_same_host_is_followed(server: KeyServer) -> None:
    server.answers["/old"] = Answer(status=301, headers={"location": "/jwks"})
    assert fetched(JwksLocation(f"{server.url}/old", "i"))[0] == SET


def test_nobody_there(server: KeyServer) -> None:
    with key_server() as gone:
        url = gone.url
    assert problem(JwksLocation(f"{url}/jwks", "i")) in ("Connection refused", "no connection")


def test_a_host_that_is_not_there() -> None:
    assert problem(JwksLocation("https://nowhere.invalid/jwks", "i")) == "its host name is not known"


def test_patience(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.2)
    server.answers["/hangs"] = Answer(hangs=True)
    assert problem(JwksLocation(f"{server.url}/hangs", "i")) in ("no answer within 0.2 s", "no answer in time")


def test_discovery(server: KeyServer) -> None:
    issuer = f"{server.url}/realm"
    server.serve_json(f"/realm{WELL_KNOWN}", {"issuer": issuer, "jwks_uri": f"{server.url}/jwks"})
    for url in (issuer, f"{issuer}/", f"{issuer}{WELL_KNOWN}"):
        assert fetched(JwksLocation(url, issuer, discovers=True))[0] == SET


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"issuer": "other", "jwks_uri": "{url}/jwks"}, "the discovery document is another issuer's"),
        ({"issuer": "i/", "jwks_uri": "{url}/jwks"}, "the discovery document is another issuer's"),
        ({"jwks_uri": "{url}/jwks"}, "the discovery document is another issuer's"),
        ({"issuer": "i"}, "the discovery document names no jwks_uri"),
        ([], "the discovery document names no jwks_uri"),
        ({"issuer": "i", "jwks_uri": 7}, "the discovery document names no jwks_uri"),
        ({"issuer": "i", "jwks_uri": "http://evil.example/"}, "the discovery document's jwks_uri is not an HTTPS URL"),
        ({"issuer": "i", "jwks_uri": "file:///etc/passwd"}, "the discovery document's jwks_uri is not an HTTPS URL"),
        ({"issuer": "i", "jwks_uri": "{url}/none"}, "status 404"),
    ],
)
def test_what_is_no_discovery(server: KeyServer, document: Any, says: str) -> None:
    server.serve_json(WELL_KNOWN, json.loads(json.dumps(document).replace("{url}", server.url)))
    assert problem(JwksLocation(server.url, "i", discovers=True)) == says


def test_from_https_there_is_no_way_back(tmp_path: Path, server: KeyServer) -> None:
    with key_server(certificate(tmp_path, "localhost")) as secure:
        secure.serve_json(WELL_KNOWN, {"issuer": "i", "jwks_uri": f"{server.url}/jwks"})
        secure.answers["/jwks"] = Answer(status=302, headers={"location": f"{server.url}/jwks"})
        ca = (tmp_path / "ca.pem").read_text()
        says = "the discovery document's jwks_uri is not an HTTPS URL"
        assert problem(JwksLocation(secure.url, "i", discovers=True, roots=ca)) == says
        assert problem(JwksLocation(f"{secure.url}/jwks", "i", roots=ca)) == "a redirect to another host"
    assert not server.asked


@pytest.mark.parametrize(
    ("name", "trusted", "says"),
    [
        ("localhost", True, ""),
        ("elsewhere.test", True, "its certificate is for another host"),
        ("localhost", False, "its certificate is not trusted"),
    ],
)
def test_the_certificate(tmp_path: Path, name: str, trusted: bool, says: str) -> None:
    with key_server(certificate(tmp_path, name)) as secure:
        secure.serve_json("/jwks", SET)
        place = JwksLocation(f"{secure.url}/jwks", "i", roots=(tmp_path / "ca.pem").read_text() if trusted else None)
        assert problem(place) == says if says else fetched(place)[0] == SET


def test_no_url_is_logged(server: KeyServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fetched(JwksLocation(f"{server.url}/jwks", "i"))
    assert "localhost" not in caplog.text
