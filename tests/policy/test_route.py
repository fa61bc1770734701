from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.config.endpoints import Endpoints
from extproc.config.schema import Route
from extproc.errors import Reason, Rejection
from extproc.events import Headers
from extproc.policy.facts import ANONYMOUS, Accepted, BodyRead, Identified, LightBody, Located, ModelFound, Request
from extproc.policy.route import CheckRequest, FindEndpoint, FindModel, OpenBody, ReadBody
from extproc.providers.loading import load_catalogue
from extproc.providers.providers import Provider
from tests.settings import GATEWAY, source
from tests.stages import admitted, light

LIMIT = 1000
PASSING = Route(path="/files*", serve="passthrough", provider="openai")
MODELS = "models: [{name: a, provider: openai}, {name: '', provider: openai, model: b}]\n"


PROVIDER = Provider("openai", ("chat",), "https://api.openai.example/v1", None)


def at(path: str, method: str = "POST", **headers: str) -> Located:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    request = Request(started=0, method=method, path=path, headers=Headers(fields))
    return FindEndpoint(Endpoints([PASSING]), {"openai": PROVIDER})(request)


def checked(call: Located) -> Accepted | Rejection:
    return CheckRequest(LIMIT)(Identified(**msgspec.structs.asdict(call), caller=ANONYMOUS))


@pytest.mark.parametrize(
    ("path", "endpoint", "dialect"),
    [("/v1/messages", "messages", "messages"), ("/v1/chat/completions", "chat", "chat"), ("/none", None, "messages")],
)
def test_finds_the_endpoint_and_refuses_nothing(path: str, endpoint: str | None, dialect: str) -> None:
    call = at(path)
    assert (call.endpoint.name if call.endpoint else None, call.dialect) == (endpoint, dialect)


def test_the_path_decides_the_dialect_before_the_headers() -> None:
    assert at("/v1/chat/completions", anthropic_version="1").dialect == "chat"


@pytest.mark.parametrize(
    ("call", "status", "detail"),
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
        (at("/v1/messages", content_type="application/octet-stream"), 415, "invalid:content-type"),
        (at("/bedrock/model/m/invoke", content_type="application/octet-stream"), 200, ""),
        (at("/bedrock/model/m/invoke", content_type="text/plain"), 415, "invalid:content-type"),
        (at("/bedrock/model/m/invoke", "GET"), 405, "wrong_method"),
        (at("/bedrock/inference-profiles", "POST"), 405, "wrong_method"),
    ],
)
def test_checks_the_request(call: Located, status: int, detail: str) -> None:
    passed = checked(call)
    found = (passed.http_status, passed.detail) if isinstance(passed, Rejection) else (200, "")
    assert found == (status, detail)


def test_a_wrong_method_names_the_right_one() -> None:
    rejection = checked(at("/v1/messages", "GET"))
    assert isinstance(rejection, Rejection)
    assert rejection.headers == (("allow", "POST"),)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'"a"', b"1", b"{}x", b"\xff", b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}',
     b"[" * 100_000, b'\xef\xbb\xbf{"a":1}'],
)  # fmt: skip
def test_what_is_no_json_object(raw: bytes) -> None:
    rejection = ReadBody()(admitted(), raw)
    assert isinstance(rejection, Rejection)
    assert (rejection.http_status, rejection.reason) == (400, Reason.INVALID_REQUEST)


@pytest.mark.parametrize("raw", [b'{"model":"a","Model":"b"}', b'{"Model":"a"}'])
def test_another_spelling_of_model(raw: bytes) -> None:
    rejection = ReadBody()(admitted(), raw)
    assert isinstance(rejection, Rejection) and rejection.message == "Model: write `model`"


def test_a_json_object() -> None:
    raw = b' {"a": [1, {"b": null}]} '
    read = ReadBody()(admitted(), raw)
    assert isinstance(read, BodyRead) and read.body == LightBody(raw, {"a": [1, {"b": None}]})


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
    catalogue, _, _ = load_catalogue(source(tmp_path, head + MODELS), {"OPENAI_API_KEY": "k"})
    found = FindModel(catalogue)(BodyRead(admitted(), light(body), body.get("model", "")))
    if isinstance(found, ModelFound):
        assert (found.resolved.upstream, problem) == (upstream, "")
    else:
        assert (found.message, upstream) == (problem, None)


CLOUD_MODELS = """models:
  - {name: eu.anthropic.claude-pinned, provider: openai}
  - {name: claude-sonnet-5, provider: openai}
  - {name: "claude-*", provider: openai}
  - {name: "*-v9", provider: openai}
"""


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("eu.anthropic.claude-pinned", "eu.anthropic.claude-pinned"),
        ("us.anthropic.claude-sonnet-5-20260101-v1%3A0", "claude-sonnet-5"),
        ("us.anthropic.claude-haiku-5-20260101-v1:0", "claude-haiku-5-20260101"),
        ("us.anthropic.other-v9", "us.anthropic.other-v9"),
        ("unknown", "unknown"),
    ],
)
def test_opens_a_body_in_a_clouds_form(tmp_path: Path, model: str, name: str) -> None:
    """Rules of `models` are tried in their order, each with every name of the model."""
    head, _, _ = GATEWAY.partition("models:")
    catalogue, _, _ = load_catalogue(source(tmp_path, head + CLOUD_MODELS), {"OPENAI_API_KEY": "k"})
    call = msgspec.structs.replace(admitted(), endpoint=at(f"/bedrock/model/{model}/invoke").endpoint)
    found = OpenBody(catalogue)(call, b'{"model":"gpt-secret","messages":[]}')
    assert found == (call, b'{"model":"%b","messages":[]}' % name.encode())


def test_betas_of_a_body_join_those_of_the_headers(tmp_path: Path) -> None:
    catalogue, _, _ = load_catalogue(source(tmp_path, GATEWAY), {"OPENAI_API_KEY": "k"})
    endpoint = at("/bedrock/model/claude-x/invoke").endpoint
    sent = Headers([("anthropic-beta", "a, b"), ("x", "1"), ("anthropic-beta", "tool-search-tool-2025-10-19")])
    found = OpenBody(catalogue)(admitted(endpoint=endpoint, headers=sent), b'{"anthropic_beta":["b","d"]}')
    assert not isinstance(found, Rejection)
    assert found[0].request.headers.as_dict() == {
        "x": "1",
        "anthropic-beta": "a,b,advanced-tool-use-2025-11-20,d",
    }
    assert found[1] == b'{"model":"claude-x"}'


def test_the_body_of_another_call_stays(tmp_path: Path) -> None:
    catalogue, _, _ = load_catalogue(source(tmp_path, GATEWAY), {"OPENAI_API_KEY": "k"})
    call = admitted()
    assert OpenBody(catalogue)(call, b"no JSON") == (call, b"no JSON")
