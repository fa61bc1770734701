"""Calls whose body and answer nobody here reads: proven, ruled and sent on with the provider's credential."""

import gzip
import re
from typing import Any

import pytest

from extproc.gateway.gateway import Gateway
from extproc.gateway.passed import MAX_ERROR_BYTES
from tests.issuing import claims, token
from tests.playbook import (
    ABSENT,
    Json,
    Playbook,
    answers,
    awaits,
    request_headers,
    response_body,
    response_headers,
)
from tests.settings import AUTHENTICATION, CLUSTER, KEY, MODELS, PROVIDERS, gateway

TEXT = f"""
{AUTHENTICATION}
authorization:
  allow: ['jwt.org == "acme"']
  deny: ['provider == "closed"', 'model == "" && request.path == "/v1/secret"']
{PROVIDERS}
  closed: {{dialects: [chat], base_url: "https://closed.example"}}
{MODELS}
routes:
  - {{path: "*", serve: passthrough, provider: openai}}
  - {{path: /closed*, serve: passthrough, provider: closed}}
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"), TEXT)


def passes(headers: Json, **record: Any) -> Json:
    return {"action": "Pass", "headers": headers, "record": record}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_with_the_providers_credential(gate: Gateway, method: str) -> None:
    play = Playbook(gate) >> request_headers("/v1/files/1?after=x", method, token=token(), content_encoding="gzip")
    headers = {":path": "/v1/files/1?after=x", "authorization": f"Bearer {KEY}", "content-type": ABSENT}
    known = {"verdict": "allow", "cluster": CLUSTER, "endpoint": "passthrough", "jwt.sub": "ann"}
    assert play << passes(headers, **known, **{"http.path": "/v1/files/1", "gen_ai.provider.name": "openai"})


def test_what_goes_along_is_chosen(gate: Gateway) -> None:
    secret: Json = {"x_api_key": token(), "cookie": "c", "proxy_authorization": "p", "x_forwarded_host": "h", "te": "x"}
    kept: Json = {"accept": "a", "content_length": "3", "openai_beta": "b", "anthropic_version": "v", "user_agent": "u"}
    play = Playbook(gate) >> request_headers("/v1/files", "PUT", **secret, **kept)
    gone = ["cookie", "proxy-authorization", "te", "x-api-key", "x-forwarded-host"]
    assert play << {**passes({}), "remove_headers": gone}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (request_headers("/v1/files", "GET"), 401, "invalid_api_key"),
        (request_headers("/v1/files", "GET", token=token(claims(exp=1))), 401, "invalid_api_key"),
        (request_headers("/v1/files", "GET", token=token(claims(org="x"))), 403, "insufficient_permissions"),
        # Rules that wait for the body elsewhere are decided here, where none will be read.
        (request_headers("/v1/secret", "GET", token=token()), 403, "insufficient_permissions"),
        (request_headers("/closed/x", "GET", token=token()), 403, "insufficient_permissions"),
    ],
)
def test_nobody_passes_unchecked(gate: Gateway, headers: Any, status: int, code: str) -> None:
    """OwnAnswer in the provider's dialect, where the request does not show the client's."""
    error = {"message": re.compile("."), "type": "invalid_request_error", "param": None, "code": code}
    assert Playbook(gate) >> headers << answers({"error": error}, status)


@pytest.mark.parametrize("path", ["/v1/messages", "/anthropic", "/anthropic/v1/messages/count_tokens"])
def test_what_is_ruled_by_model_is_not_passed_by(gate: Gateway, path: str) -> None:
    for spelling in (path, path + "/", path + "//"):
        assert Playbook(gate) >> request_headers(spelling, token=token()) << awaits(verdict=ABSENT)


ANSWER: Json = {"set_cookie": "a=b", "location": "https://elsewhere", "etag": "e", "x_echo": f"Bearer {KEY}"}


@pytest.mark.parametrize("end", [False, True])
def test_a_success_is_not_read(gate: Gateway, end: bool) -> None:
    play = Playbook(gate) >> request_headers("/v1/files", "GET", token=token()) << passes({})
    play >> response_headers(details="via_upstream", end=end, **ANSWER)
    play << {"action": "PassAnswer", "remove_headers": ["location", "set-cookie", "x-echo"], "read_body": False}
    assert play.exchange.deadline is None
    with pytest.raises(Exception, match="ResponseBody in DONE"):
        play >> response_body(b"", end=True)


def test_an_error_is_read(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers("/v1/files", "GET", token=token()) << passes({})
    play >> response_headers(401, details="via_upstream", content_length="9", location="/v1/files/1")
    play << {"action": "PassAnswer", "remove_headers": ["content-length"], "read_body": True}
    play >> response_body(f"no key {KEY} at api.openai.example".encode(), end=True)
    assert play << {"action": "ReplaceBody", "body": "no key [key] at [address]", "media": ""}


def test_what_needs_no_change_stays(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers("/v1/files", "GET", token=token()) << passes({})
    play >> response_headers(500) << {"action": "PassAnswer", "read_body": True} >> response_body(b"oops", end=True)
    assert play << {"action": "ReplaceBody", "body": "oops"}


def test_a_bomb_is_not_unpacked(gate: Gateway) -> None:
    bomb = gzip.compress(bytes(MAX_ERROR_BYTES + 1))
    play = Playbook(gate) >> request_headers("/v1/files", "GET", token=token()) << passes({})
    play >> response_headers(500, content_encoding="gzip") << {"action": "PassAnswer", "read_body": True}
    play >> response_body(bomb, end=True)
    message = re.compile("in a form that cannot be read here")
    assert play << {"action": "ReplaceBody", "body": {"error": {"message": message}}, "media": "application/json"}


def test_envoys_own_answer_stays_as_it_is(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers("/v1/files", "GET", token=token()) << passes({})
    play >> response_headers(503, details="no_healthy_upstream", www_authenticate="x")
    assert play << {"action": "PassAnswer", "remove_headers": [], "read_body": False}
