"""A provider's list of models for a client of the other dialect (C222, C223)."""

import json
from typing import Any

import pytest

from extproc.errors import Kind
from extproc.translate.list_shapes import ANTHROPIC, OPENAI
from extproc.translate.model_lists import ModelLists, is_foreign
from extproc.translate.pair import Reply, Translated
from extproc.wire import Dialect
from extproc.wire.dialects import is_list
from tests.translate.answers import JSON, play, vectors

ASKED = Translated(path="", body=b"", stream=False, model="")
LISTED = {"object": "list", "data": [{"id": "a", "created": 1735689600}, {"id": "b"}, {"id": 3}, "c"]}


def lists(client: Dialect, path: str = "/v1/models", query: str = "") -> ModelLists:
    """Of a provider of the other vendor."""
    return ModelLists(client, "chat" if client == "messages" else "messages", path, query)


def to_openai(entry: dict[str, Any]) -> dict[str, Any]:
    return OPENAI.write(ANTHROPIC.read(entry))


def to_anthropic(entry: dict[str, Any]) -> dict[str, Any]:
    return ANTHROPIC.write(OPENAI.read(entry))


def read(value: Any, client: Dialect, path: str = "/v1/models", query: str = "") -> tuple[Reply, Any]:
    reply = lists(client, path, query).reply(ASKED, JSON)
    out = play(reply, value if isinstance(value, bytes) else json.dumps(value).encode())
    return reply, json.loads(out) if out else None


@pytest.mark.parametrize("vector", vectors("misc", "anthropic_models->openai_models"), ids=lambda v: v["case"])
def test_the_vector(vector: dict[str, Any]) -> None:
    reply, found = read(vector["input"], "chat")
    assert (found, reply.outcome.complete, reply.outcome.warnings) == (vector["expected"], True, [])


@pytest.mark.parametrize(
    ("created_at", "created"),
    [
        ("2025-01-01T00:00:00.9Z", 1735689600),
        ("2025-01-01T01:00:00+01:00", 1735689600),
        ("2025-01-01T00:00:00", 1735689600),
        ("1970-01-01T00:00:00Z", 0),
        ("1960-01-01T00:00:00Z", 0),
        ("soon", 0),
        (None, 0),
        (7, 0),
    ],
)
def test_dates_of_anthropic(created_at: Any, created: int) -> None:
    assert to_openai({"id": "a", "created_at": created_at})["created"] == created


@pytest.mark.parametrize(
    ("created", "created_at"),
    [
        (1735689600, "2025-01-01T00:00:00Z"),
        (1735689600.5, "2025-01-01T00:00:00Z"),
        (0, "1970-01-01T00:00:00Z"),
        (None, "1970-01-01T00:00:00Z"),
        ("x", "1970-01-01T00:00:00Z"),
        (1e40, "1970-01-01T00:00:00Z"),
    ],
)
def test_dates_of_openai(created: Any, created_at: str) -> None:
    assert to_anthropic({"id": "a", "created": created})["created_at"] == created_at


@pytest.mark.parametrize("name", ["max_model_len", "context_length", "context_window"])
def test_what_servers_say_of_the_context(name: str) -> None:
    assert to_anthropic({"id": "a", name: 4096})["max_input_tokens"] == 4096
    assert "max_input_tokens" not in to_anthropic({"id": "a", name: "4096"})


def test_a_list_becomes_a_page() -> None:
    _, found = read(LISTED, "messages")
    assert [(entry["type"], entry["id"], entry["display_name"]) for entry in found["data"]] == [
        ("model", "a", "a"), ("model", "b", "b")
    ]  # fmt: skip
    assert (found["has_more"], found["first_id"], found["last_id"]) == (False, "a", "b")


def test_pages_are_cut_here() -> None:
    _, found = read(LISTED, "messages", query="limit=1&after_id=a")
    assert ([entry["id"] for entry in found["data"]], found["has_more"]) == (["b"], False)
    reply, _ = read(LISTED, "messages", query="limit=0")
    assert reply.outcome.failure and reply.outcome.failure.kind is Kind.INVALID_REQUEST


def test_an_empty_list() -> None:
    _, found = read({"object": "list", "data": []}, "messages")
    assert found == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_more_than_one_page_is_told() -> None:
    reply, found = read({"data": [], "has_more": True}, "chat")
    assert (found, reply.outcome.warnings) == ({"object": "list", "data": []}, ["approx:data"])


@pytest.mark.parametrize(("client", "member"), [("messages", "display_name"), ("chat", "owned_by")])
def test_one_model(client: Dialect, member: str) -> None:
    _, found = read({"id": "a"}, client, "/v1/models/a")
    assert found["id"] == "a" and member in found


@pytest.mark.parametrize("value", [b"", b"<html>", [], {}, {"data": 1}, {"data": None}])
@pytest.mark.parametrize("client", ["messages", "chat"])
def test_what_is_no_list_is_a_failure(value: Any, client: Dialect) -> None:
    for path in ("/v1/models", "/v1/models/a"):
        reply, found = read(value, client, path)
        assert found is None and reply.outcome.failure is not None


@pytest.mark.parametrize(
    ("client", "body", "code"),
    [
        ("chat", {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}, "model_not_found"),
        ("messages", {"error": {"message": "no such model", "code": "model_not_found"}}, "model_not_found"),
    ],
)
def test_errors(client: Dialect, body: Any, code: str) -> None:
    refusal = lists(client, "/v1/models/x").error(ASKED, 404, {"x-request-id": "r"}, json.dumps(body).encode(), 0)
    assert (refusal.rejection.kind, refusal.rejection.code) == (Kind.NOT_FOUND, code)
    assert refusal.headers["x-request-id"] == "r"


def test_which_paths_and_what_is_asked() -> None:
    assert [is_list(path) for path in ("/v1/models", "/v1/models/a", "/v1/modelsx", "/x")] == [True, True, False, False]
    assert lists("chat").query == "limit=1000"
    assert lists("chat", "/v1/models/a").query == lists("messages").query == ""


@pytest.mark.parametrize(
    ("client", "provider", "foreign"),
    [
        ("messages", ["chat"], True),
        ("messages", ["responses", "chat"], True),
        ("messages", ["chat", "messages"], False),
        ("chat", ["responses"], False),
        ("responses", ["messages"], True),
        ("chat", ["messages", "responses"], False),
    ],
)
def test_which_lists_come_in_another_shape(client: Dialect, provider: list[Dialect], foreign: bool) -> None:
    assert is_foreign(client, provider) is foreign


def test_codex_finds_the_member_that_it_reads() -> None:
    _, found = read({"data": []}, "responses", query="client_version=0.171.0")
    assert found == {"object": "list", "data": [], "models": []}
    assert "models" not in read({"data": []}, "chat")[1]
