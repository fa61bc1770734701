from pathlib import Path
from typing import Any

import pytest

from extproc.config.endpoints import Endpoints
from extproc.config.schema import Route
from extproc.errors import Reason, Rejection
from extproc.events import Headers
from extproc.policy.facts import Facts
from extproc.policy.route import CheckRequest, FindEndpoint, FindModel, ReadBody
from extproc.providers import providers
from tests.playbook import done
from tests.settings import GATEWAY, source

LIMIT = 1000
PASSING = Route(path="/files*", serve="passthrough", provider="openai")
MODELS = "models: [{name: a, provider: openai}, {name: '', provider: openai, model: b}]\n"


def run(step: Any, facts: Facts) -> Rejection | None:
    found: Any = done(step(facts, 0.0))
    assert found is None or isinstance(found, Rejection)
    return found


def at(path: str, method: str = "POST", **headers: str) -> Facts:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    facts = Facts(0, method=method, path=path, headers=Headers(fields))
    assert run(FindEndpoint(Endpoints([PASSING]), {}), facts) is None
    return facts


@pytest.mark.parametrize(
    ("path", "endpoint", "dialect"),
    [("/v1/messages", "messages", "messages"), ("/v1/chat/completions", "chat", "chat"), ("/none", None, "messages")],
)
def test_finds_the_endpoint_and_refuses_nothing(path: str, endpoint: str | None, dialect: str) -> None:
    facts = at(path)
    assert (facts.endpoint.name if facts.endpoint else None, facts.dialect) == (endpoint, dialect)


def test_the_path_decides_the_dialect_before_the_headers() -> None:
    assert at("/v1/chat/completions", anthropic_version="1").dialect == "chat"


@pytest.mark.parametrize(
    ("facts", "status", "detail"),
    [
        (at("/v1/messages"), 200, ""),
        (at("/v1/messages", content_type="application/json; charset=utf-8"), 200, ""),
        (at("/v1/messages", content_type="Application/JSON"), 200, ""),
        (at("/v1/messages", content_encoding="Identity", content_length=f"{LIMIT}"), 200, ""),
        (at("/v1/models", "GET", content_type="text/plain"), 200, ""),
        (at("/files", "PUT", content_type="x/y", content_encoding="gzip"), 200, ""),
        (at("/none"), 404, "unknown_path"),
        (at("/v1/messages", "GET"), 405, "wrong_method"),
        (at("/v1/messages", ""), 405, "wrong_method"),
        (at("/v1/messages", "HEAD"), 405, "wrong_method"),
        (at("/v1/messages", content_encoding="br"), 415, "invalid:content-encoding"),
        (at("/v1/messages", content_encoding=""), 415, "invalid:content-encoding"),
        (at("/v1/messages", content_type=""), 415, "invalid:content-type"),
        (at("/v1/messages", content_type="application/jsonx"), 415, "invalid:content-type"),
        (at("/v1/messages", content_length=f"{LIMIT + 1}"), 413, "request_too_large"),
        (at("/v1/messages", content_length="9" * 5000), 413, "request_too_large"),
        (at("/v1/messages", content_length="-1"), 200, ""),
    ],
)
def test_checks_the_request(facts: Facts, status: int, detail: str) -> None:
    rejection = run(CheckRequest(LIMIT), facts)
    found = (rejection.http_status, rejection.detail) if rejection else (200, "")
    assert found == (status, detail)


def test_a_wrong_method_names_the_right_one() -> None:
    rejection = run(CheckRequest(LIMIT), at("/v1/messages", "GET"))
    assert rejection
    assert rejection.headers == (("allow", "POST"),)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'"a"', b"1", b"{}x", b"\xff", b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}',
     b"[" * 100_000, b'\xef\xbb\xbf{"a":1}'],
)  # fmt: skip
def test_what_is_no_json_object(raw: bytes) -> None:
    rejection = run(ReadBody(), Facts(0, raw_body=raw))
    assert rejection
    assert (rejection.http_status, rejection.reason) == (400, Reason.INVALID_REQUEST)


@pytest.mark.parametrize("raw", [b'{"model":"a","Model":"b"}', b'{"Model":"a"}'])
def test_another_spelling_of_model(raw: bytes) -> None:
    rejection = run(ReadBody(), Facts(0, raw_body=raw))
    assert rejection and rejection.message == "Model: write `model`"


def test_a_json_object() -> None:
    facts = Facts(0, raw_body=b' {"a": [1, {"b": null}]} ')
    assert run(ReadBody(), facts) is None
    assert facts.body == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("body", "upstream", "problem"),
    [
        ({"model": "a"}, "a", ""),
        ({"model": ""}, "b", ""),
        ({}, "b", ""),
        ({"model": "x"}, None, "model: x"),
        ({"model": "x" * 300}, None, "model: " + "x" * 200),
        ({"model": None}, None, "model: Input should be a valid string"),
        ({"model": 1}, None, "model: Input should be a valid string"),
        ({"model": ["a"]}, None, "model: Input should be a valid string"),
    ],
)
def test_finds_the_model(tmp_path: Path, body: dict[str, Any], upstream: str | None, problem: str) -> None:
    head, _, _ = GATEWAY.partition("models:")
    catalogue, _, _ = providers.load(source(tmp_path, head + MODELS), {"OPENAI_API_KEY": "k"})
    facts = at("/v1/messages")
    facts.body, facts.model_sent = body, body.get("model", "")
    rejection = run(FindModel(catalogue), facts)
    assert (rejection.message if rejection else "") == problem
    assert (facts.resolved.upstream if facts.resolved else None) == upstream
