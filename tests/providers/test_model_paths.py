from pathlib import Path

import pytest

from extproc.config.endpoints import Endpoint, Endpoints, Operation
from extproc.config.schema import Route
from extproc.providers import model_paths
from extproc.providers.providers import Provider
from tests.settings import GATEWAY, faults

PASSING = Endpoint("passthrough", Operation.PASSTHROUGH, None, "", "p", 3)


def found(base: str, path: str) -> str | None:
    """Name of the endpoint that a call is which would pass through."""
    endpoint = model_paths.endpoint_upstream(PASSING, path, Provider("p", ("chat",), f"https://host{base}", None))
    assert endpoint is None or endpoint.route == 3
    assert endpoint is None or endpoint is PASSING or endpoint.provider is None
    return endpoint.name if endpoint else None


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("/v1", "/chat/completions", "chat"),
        ("/v1", "/messages/", "messages"),
        ("/v1", "/messages/count_tokens", "count_tokens"),
        ("/v1", "/v1/responses", "responses"),
        ("", "/chat/completions", "chat"),
        ("", "/v1/responses/input_tokens", "input_tokens"),
        ("/api/v1", "/chat/completions", "chat"),
        ("/openai", "/responses", "responses"),
        ("", "/api/v1/chat/completions", None),
        ("", "/anthropic/v1/messages", None),
        ("/v1", "/V1/messages", None),
        ("/api/v3", "/;a=b/responses", None),
        ("/v1", "/%6Dessages", None),
        ("/v1", "/x%2F..%2Fmessages", None),
        ("/v1", "/messages%3Fa", None),
        ("/v1", "/messages%C2%A0", None),
        ("/v1", "/messages%2500.json", None),
        ("/v1/chat", "/completions", None),
        ("/v1/messages", "/", None),
        ("/v1", "/files/..;/batches", None),
        ("/v1", "/x/%252e%252E/admin", None),
        ("/v1", "/files/a..b", "passthrough"),
        ("/v1", "/threads/t/messages", "passthrough"),
        ("/v1", "/messages/batches", "passthrough"),
        ("/v1", "/responses/resp_1", "passthrough"),
        ("/v1", "/chat/completions/chatcmpl-1", "passthrough"),
        ("/v1", "/files/100%25", "passthrough"),
        ("/v1", "/files", "passthrough"),
    ],
)
def test_what_a_path_is_upstream(base: str, path: str, expected: str | None) -> None:
    assert found(base, path) == expected


def test_a_path_has_an_end() -> None:
    longest = "/files/" + "x" * (model_paths.MAX_PATH - len("/files/"))
    assert (found("/v1", longest), found("/v1", longest + "x")) == ("passthrough", None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages/batches", "batches"),
        ("/v1/messages/batches/b_1/results", "batches"),
        ("/v1/Completions", "completions"),
        ("/v1/complete;a", "completions"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/images/edits", "images"),
        ("/v1/audio/speech", "audio"),
        ("/v1/realtime", "realtime"),
        ("/v1/files", "files"),
        ("/v1/threads/t/messages", "assistants"),
        ("/v1/threads/t/runs", "assistants"),
        ("/v1beta/models/m:streamGenerateContent", "inference"),
        ("/v1/models/m:rawPredict", "inference"),
        ("/model/m/invoke", "inference"),
        ("/v1/models", "other"),
        ("/api/oauth/profile", "other"),
        ("/", "other"),
    ],
)
def test_the_operation_of_a_call_that_passes_through(path: str, expected: str) -> None:
    assert model_paths.operation(PASSING, path) == expected


def test_the_operation_of_any_other_call() -> None:
    endpoints = Endpoints([])
    paths = ("/v1/messages", "/v1/responses/input_tokens", "/v1/models", "/nowhere")
    names = [model_paths.operation(endpoints.find("POST", path), path) for path in paths]
    assert names == ["generate", "count_tokens", "list_models", "unknown"]


def test_paths_that_a_route_leaves_without_the_rules_of_models() -> None:
    routes = [Route(path="/v1/files*", serve="passthrough", provider="p"), Route(path="/x", serve="messages")]
    endpoints = Endpoints([*routes, Route(path="/v1/*", serve="passthrough", provider="p")])
    assert model_paths.unruled(endpoints, 0) == ["/v1/files"]
    assert "/v1/messages/batches" in model_paths.unruled(endpoints, 2)
    assert not {"/v1/files", "/v1/messages"} & set(model_paths.unruled(endpoints, 2))


@pytest.mark.parametrize("path", ["/v1/messages", "/chat/completions/", "/v1/chat/completions"])
def test_a_served_path_can_not_be_passed_through(tmp_path: Path, path: str) -> None:
    text = GATEWAY + f'routes: [{{path: "{path}", serve: passthrough, provider: openai}}]\n'
    [fault] = faults(tmp_path, text)
    dialect = "messages" if "messages" in path else "chat"
    assert fault.endswith(f"routes.0.serve: this path reaches models at openai: write serve: {dialect}")
