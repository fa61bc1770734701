import json

import pytest

from extproc.errors import Kind
from extproc.wire import cloud_apis
from extproc.wire.cloud_api import DialectError
from extproc.wire.cloud_apis import AZURE_OPENAI, BEDROCK_MANTLE, VERTEX

CLAUDE = "/projects/p/locations/europe-west1/publishers/anthropic/models"


def test_names() -> None:
    assert cloud_apis.names() == ("bedrock", "bedrock-mantle", "vertex", "azure-openai")
    assert [cloud_apis.row(name) for name in cloud_apis.names()] == list(cloud_apis.rows())
    assert cloud_apis.row("messages") is None


@pytest.mark.parametrize(
    ("path", "name"),
    [("/bedrock/x", "bedrock"), ("/bedrock-mantle/x", "bedrock-mantle"), ("/bedrock", None), ("/v1/messages", None)],
)
def test_the_api_at_a_path(path: str, name: str | None) -> None:
    found = cloud_apis.at(path)
    assert (found and found.name) == name


@pytest.mark.parametrize("base", ["", "/anthropic"])
def test_paths_of_mantle(base: str) -> None:
    found = [BEDROCK_MANTLE.find(f"{base}/v1/messages{rest}") for rest in ("", "/count_tokens", "/batches")]
    assert [entry and entry[0].operation for entry in found] == ["generate", "count_tokens", None]


@pytest.mark.parametrize("base", ["", "/v1", "/v1beta1"])
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/x:rawPredict", ("generate", False, "x")),
        ("/x@20260101:streamRawPredict", ("generate", True, "x@20260101")),
        ("/count-tokens:rawPredict", ("count_tokens", None, "")),
        ("/a/b:rawPredict", None),
        ("/x:predict", None),
        ("/x:generateContent", None),
        ("/:rawPredict", None),
    ],
)
def test_paths_of_vertex(base: str, path: str, found: tuple[str, bool | None, str] | None) -> None:
    entry = VERTEX.find(base + CLAUDE + path)
    assert (entry and (entry[0].operation, entry[0].stream, entry[1])) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/deployments/gpt/chat/completions", ("generate", "chat", "gpt")),
        ("/v1/chat/completions", ("generate", "chat", "")),
        ("/responses", ("generate", "responses", "")),
        ("/v1/responses/input_tokens", ("count_tokens", "responses", "")),
        ("/models", ("list_models", "chat", "")),
        ("/v1/models/gpt", ("list_models", "chat", "gpt")),
        ("/deployments/gpt/embeddings", None),
        ("/deployments/a/b/chat/completions", None),
        ("/v1/responses/resp_1", None),
    ],
)
def test_paths_of_azure(path: str, found: tuple[str, str, str] | None) -> None:
    entry = AZURE_OPENAI.find(path)
    assert (entry and (entry[0].operation, entry[0].dialect, entry[1])) == found


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, Kind.INVALID_REQUEST, (400, "INVALID_ARGUMENT")),
        (405, Kind.INVALID_REQUEST, (405, "INVALID_ARGUMENT")),
        (401, Kind.AUTHENTICATION, (401, "UNAUTHENTICATED")),
        (404, Kind.NOT_FOUND, (404, "NOT_FOUND")),
        (429, Kind.RATE_LIMIT, (429, "RESOURCE_EXHAUSTED")),
        (529, Kind.OVERLOADED, (503, "UNAVAILABLE")),
        (502, Kind.API, (502, "INTERNAL")),
        (500, "", (500, "INTERNAL")),
    ],
)
def test_errors_of_vertex(status: int, kind: str, expected: tuple[int, str]) -> None:
    found = VERTEX.error(status, DialectError(kind, "why"), b"")
    error = json.loads(found.body)["error"]
    assert (found.status, error["status"]) == expected
    assert (error["code"], error["message"], error["type"]) == (found.status, "why", kind or "api_error")


def test_errors_of_azure_are_openais() -> None:
    found = AZURE_OPENAI.error(404, DialectError(), b'{"error":{}}')
    assert (found.status, found.body, found.headers) == (404, b'{"error":{}}', {})
