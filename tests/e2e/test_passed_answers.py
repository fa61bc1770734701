"""Calls that pass through: which methods and headers do, and what of the provider's answer reaches the client."""

import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e import http2
from tests.e2e.recording_provider import METHODS, RecordingProvider
from tests.e2e.stack import ONE_WORKER, PROVIDER_KEY, SECONDS, Stack, prompt, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  anthropic: {dialects: [messages], base_url: "${PROVIDER}", api_key: {env: MODEL_KEY}}
models: [{name: "claude-*", provider: anthropic}]
routes: [{path: "*", serve: passthrough, provider: anthropic}]
"""
ALLOWED = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingProvider]:
    with RecordingProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, recording: RecordingProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("passed-answers")
    with up(folder, environ={"PROVIDER": recording.url}, config=CONFIG, arguments=ONE_WORKER) as running:
        yield running


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages", "/nowhere"])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in ALLOWED])
def test_other_methods_go_nowhere(gate: Stack, recording: RecordingProvider, method: str, path: str) -> None:
    recording.answer()
    where = urlsplit(gate.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=SECONDS)
    try:
        connection.request(method, path, headers={"authorization": f"Bearer {gate.good_token}"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert not recording.seen
    assert answer.status in ((405,) if method == "TRACE" else (400, 403, 404, 405)), body
    if answer.status == 405:
        assert answer.headers["allow"] == ", ".join(ALLOWED)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PURGE", "post"])
def test_nor_do_they_over_http2(gate: Stack, recording: RecordingProvider, method: str) -> None:
    recording.answer()
    fields = [(":method", method), (":scheme", "http"), (":authority", "gateway"), (":path", "/v1/files")]
    answer = http2.send(gate.url, [*fields, ("authorization", f"Bearer {gate.good_token}")], b"")
    assert not recording.seen
    assert answer is None or answer.status_code in (400, 403, 404, 405)


def get(gate: Stack, path: str = "/v1/files/f", method: str = "GET", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gate.call(path=path, method=method, headers=sent)


OF_CLIENTS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "files-api-2025-04-14",
    "anthropic-dangerous-direct-browser-access": "true",
    "openai-beta": "assistants=v2",
    "x-stainless-lang": "python",
    "x-stainless-retry-count": "0",
    "x-stainless-helper-method": "stream",
    "x-app": "cli",
    "x-claude-code-session-id": "s",
    "idempotency-key": "k",
    "if-none-match": '"e"',
    "range": "bytes=0-1",
    "accept-language": "de",
}
WITHHELD = {
    "x-appengine-user": "root",
    "x-app-token": "t",
    "anthropic-api-key": "sk-ant-own",
    "anthropic-workspace-id": "w",
    "anthropic-organization-id": "o",
    "openai-organization": "o",
    "openai-project": "p",
    "openai-api-key": "k",
    "x-stainless-secret": "s",
    "x-claude-code-token": "t",
    "if-user": "root",
    "content-hmac": "h",
    "user-agent-user": "u",
    "accept-token": "t",
    "x-http-method-override": "DELETE",
}


def test_headers_pass_by_their_names(gate: Stack, recording: RecordingProvider) -> None:
    recording.answer()
    sent = {name.replace("-", "_"): value for name, value in (OF_CLIENTS | WITHHELD).items()}
    assert get(gate, **sent).status_code == 200
    [seen] = recording.seen
    assert {name: seen.headers.get(name) for name in OF_CLIENTS} == OF_CLIENTS
    assert not WITHHELD.keys() & seen.headers.keys()


TRAPS: dict[str, Any] = {
    "set_cookie": "session=1; Domain=example.com",
    "alt_svc": 'h3="evil.example:443"',
    "clear_site_data": '"*"',
    "strict_transport_security": "max-age=31536000",
    "www_authenticate": "Basic realm=provider",
}


@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_headers_that_would_bind_the_client_stay_here(gate: Stack, recording: RecordingProvider, status: int) -> None:
    recording.answer(status, location="https://elsewhere.example/x", x_kept="yes", **TRAPS)
    answer = get(gate)
    assert answer.status_code == status and answer.headers["x-kept"] == "yes"
    assert not {"location", *(name.replace("_", "-") for name in TRAPS)} & answer.headers.keys()


ANSWERS = {
    200: b'{"type":"message","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}',
    401: b'{"type":"error","error":{"type":"authentication_error","message":"no"}}',
    529: b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}',
}


@pytest.mark.parametrize("status", ANSWERS)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_nor_do_they_pass_with_a_served_call(gate: Stack, recording: RecordingProvider, path: str, status: int) -> None:
    recording.answer(status, ANSWERS[status], location="https://elsewhere.example/x", **TRAPS)
    answer = gate.call(prompt("hello"), path=path)
    assert len(recording.seen) == 1
    assert not {"location", *(name.replace("_", "-") for name in TRAPS)} & answer.headers.keys()


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/v1/files/g", True),
        ("/v1/models/m:tuned?after=10:00", True),
        ("g?x=1", True),
        ("//elsewhere.example/x", False),
        ("/\\elsewhere.example/x", False),
        ("{provider}/v1/files/g", False),
        ("javascript:alert(1)", False),
    ],
)
def test_a_location_may_lead_within_the_gateway(
    gate: Stack, recording: RecordingProvider, location: str, kept: bool
) -> None:
    recording.answer(307, location=location.format(provider=recording.url))
    answer = get(gate)
    assert answer.status_code == 307
    assert answer.headers.get("location") == (location if kept else None)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "gzip"])
def test_an_error_that_quotes_the_key(gate: Stack, recording: RecordingProvider, status: int, encoded: bool) -> None:
    address = recording.url.removeprefix("http://")
    error = {"error": {"type": "t", "message": f"bad key {PROVIDER_KEY} at {address}", "é": [1.50]}}
    body = json.dumps(error, indent=3).encode()
    more = {"content_encoding": "gzip"} if encoded else {}
    recording.answer(status, gzip.compress(body) if encoded else body, x_echo=f"key={PROVIDER_KEY}", **more)
    answer = get(gate, accept_encoding="gzip, deflate, br")
    assert answer.status_code == status and PROVIDER_KEY not in answer.text + str(answer.headers)
    expected = body.replace(PROVIDER_KEY.encode(), b"[key]").replace(address.encode(), b"[address]")
    assert answer.content == expected
    assert "content-encoding" not in answer.headers
    assert PROVIDER_KEY not in gate.printed
    line = gate.record(answer)
    assert (line["http.status"], line["reason"]) == (status, "Upstream")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", b"\x8b\x02\x80"), ("gzip", b"\x1f\x8b no"), ("gzip", gzip.compress(b"x" * 100)[:-9])],
    ids=["brotli", "no gzip", "cut gzip"],
)
def test_an_error_that_can_not_be_read_is_replaced(
    gate: Stack, recording: RecordingProvider, encoding: str, body: bytes
) -> None:
    recording.answer(500, body, content_encoding=encoding)
    answer = get(gate)
    assert answer.status_code == 500 and "content-encoding" not in answer.headers
    assert answer.json()["error"]["type"] == "api_error"


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_a_large_error(gate: Stack, recording: RecordingProvider, size: int) -> None:
    """One that is larger than any that is meant to be read gives way to our own words."""
    recording.answer(500, b"x" * size + PROVIDER_KEY.encode())
    answer = get(gate)
    assert answer.status_code == 500 and PROVIDER_KEY not in answer.text
    assert answer.text.endswith("[key]") is (size < 1_000_000)


def test_an_error_without_a_body(gate: Stack, recording: RecordingProvider) -> None:
    recording.answer(404, b"")
    for method in ("GET", "HEAD", "DELETE"):
        answer = get(gate, method=method)
        assert (answer.status_code, answer.content) == (404, b"")


def test_a_success_passes_as_it_is(gate: Stack, recording: RecordingProvider) -> None:
    body = gzip.compress(b"x" * 200_000 + PROVIDER_KEY.encode())
    recording.answer(200, body, content_encoding="gzip", content_type="application/octet-stream", etag='"e"')
    with httpx.Client(verify=False) as client:
        headers = {"authorization": f"Bearer {gate.good_token}", "accept-encoding": "br, gzip"}
        with client.stream("GET", f"{gate.url}/v1/files/f/content", headers=headers) as answer:
            assert b"".join(answer.iter_raw()) == body
    assert (answer.headers["content-encoding"], answer.headers["etag"]) == ("gzip", '"e"')
    assert recording.seen[0].headers["accept-encoding"] == "gzip"


def test_nobody_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Envoy's own words reach the client as before."""
    folder = tmp_path_factory.mktemp("nobody")
    with up(folder, environ={"PROVIDER": "http://127.0.0.1:9"}, config=CONFIG, arguments=ONE_WORKER) as stack:
        answer = get(stack)
    assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")
