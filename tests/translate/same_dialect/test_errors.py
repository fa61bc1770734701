"""An upstream's refusal for a client of its own dialect."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Kind
from extproc.translate.pair import Pair, Refusal
from tests.translate.passing import CHAT, MESSAGES, asked, recorded

STATUS = {"401": 401, "404": 404, "429": 429, "529": 529, "400-prompt-too-long": 400}


def refusal(pair: Pair, status: int, body: bytes, headers: dict[str, str] | None = None, **profile: Any) -> Refusal:
    return pair.error(asked(pair, **profile), status, headers or {}, body, 0.0)


def claude(message: str, kind: str = "invalid_request_error", **more: Any) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **more}}).encode()


def openai(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": "t", "param": "p", "code": "c", **more}}).encode()


@pytest.mark.parametrize(
    "path", [p for p in recorded("json") if p.stem.startswith("error-")], ids=lambda p: str(p.stem)
)
def test_claudes_own_words(path: Path) -> None:
    body, status = path.read_bytes(), STATUS[path.stem.removeprefix("error-")]
    found = refusal(MESSAGES, status, body)
    assert found.body == body and found.rejection.http_status == status
    assert found.rejection.kind == json.loads(body)["error"]["type"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
def test_openais_own_words(status: int) -> None:
    found = refusal(CHAT, status, openai("You can find your key at https://platform.openai.com/account/api-keys."))
    assert found.rejection.http_status == status and b"platform.openai.com" in found.body


def test_secrets_are_taken_out() -> None:
    found = refusal(MESSAGES, 400, claude("key sk-ant-abcdef at http://10.1.2.3/v1, see https://docs.claude.com/x"))
    said = json.loads(found.body)
    assert said["type"] == "error" and said["error"]["type"] == "invalid_request_error"
    assert said["error"]["message"] == "key [key] at [address] see https://docs.claude.com/x"
    wrapped = refusal(CHAT, 502, openai("failed", metadata={"raw": "dial vllm.internal:8000"}))
    assert json.loads(wrapped.body) == {
        "error": {"message": "failed: dial [address]", "type": "t", "param": "p", "code": "c"}
    }


@pytest.mark.parametrize(("pair", "body"), [(MESSAGES, claude("no", "authentication_error")), (CHAT, openai("no"))])
def test_our_credential_is_our_business(pair: Pair, body: bytes) -> None:
    assert refusal(pair, 401, body).body == body
    hidden = refusal(pair, 401, body, hide_upstream_auth=True)
    assert hidden.body == b"" and hidden.rejection.http_status == 500
    assert refusal(pair, 404, body, hide_upstream_auth=True).body == body
    assert refusal(pair, 503, body, hide_upstream_auth=True).body == body


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"[]", b'{"error":"m"}', b'{"detail":"m"}', b'{"message":"m","object":"error"}']
)
def test_other_forms_are_worded_anew(body: bytes) -> None:
    found = refusal(MESSAGES, 503, body)
    assert found.body == b"" and (found.rejection.kind, found.rejection.http_status) == (Kind.OVERLOADED, 529)
    assert found.rejection.message == ("m" if b'"m"' in body else "upstream answered 503 Service Unavailable")


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b"{}"])
def test_nothing_to_be_read(body: bytes) -> None:
    found = refusal(CHAT, 503, body)
    assert found.body == b"" and found.rejection.message == "upstream answered 503 Service Unavailable"


def test_other_forms_of_engines() -> None:
    flat = b'{"object":"error","message":"the maximum context length is 9","type":"BadRequestError","code":400}'
    found = refusal(CHAT, 400, flat)
    assert json.loads(found.body)["error"] == {
        "message": "the maximum context length is 9", "type": "BadRequestError", "param": None,
        "code": "context_length_exceeded",
    }  # fmt: skip
    assert found.rejection.http_status == 400
    detailed = refusal(CHAT, 422, b'{"detail":[{"loc":["body","n"],"msg":"no"}]}')
    assert json.loads(detailed.body)["error"]["message"] == "body.n: no" and detailed.rejection.http_status == 422


def test_a_redirect_is_not_followed() -> None:
    found = refusal(MESSAGES, 307, claude("elsewhere"))
    assert found.body == b"" and found.rejection.http_status == 502


def test_headers() -> None:
    common = {"retry-after": "3", "retry-after-ms": "2500", "x-should-retry": "true", "set-cookie": "a", "server": "s"}
    claudes = {
        **common, "request-id": "req_1", "anthropic-organization-id": "o", "cf-ray": "r",
        "anthropic-ratelimit-requests-limit": "5", "anthropic-ratelimit-unified-status": "allowed",
    }  # fmt: skip
    kept = MESSAGES.headers(claudes, 0.0)
    assert set(claudes) - set(kept) == {"set-cookie", "server", "anthropic-organization-id", "cf-ray"}
    assert kept["x-request-id"] == "req_1"
    openais = {**common, "x-request-id": "req_2", "openai-version": "1", "x-ratelimit-reset-tokens": "6ms"}
    kept = refusal(CHAT, 429, openai("m"), openais).headers
    assert set(openais) - set(kept) == {"set-cookie", "server", "openai-version"}
    assert kept["request-id"] == kept["x-request-id"] == "req_2"


@given(st.sampled_from([MESSAGES, CHAT]), st.integers(100, 999), st.binary(max_size=60) | st.just(claude("m")))
def test_any_bytes(pair: Pair, status: int, body: bytes) -> None:
    found = refusal(pair, status, body)
    assert 400 <= found.rejection.http_status < 600 or found.rejection.http_status == status
