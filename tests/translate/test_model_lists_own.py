"""Lists of models in the shapes of both dialects (mapping 5.7)."""

import json
from typing import Any

import pytest

from extproc.config.schema_models import Model
from extproc.errors import Rejection
from extproc.providers.catalogue import Resolved, Rule, pattern_of
from extproc.providers.profiles import Profile
from extproc.providers.providers import Provider
from extproc.translate.model_lists import listing
from extproc.wire import Dialect

PROVIDER = Provider("openai", ("chat",), "https://h/v1", None)


def model(name: str, **limits: Any) -> Resolved:
    rule = Rule(0, pattern_of(name), Model(name=name, provider="openai"), PROVIDER)
    return Resolved(name, name, PROVIDER, Profile(**limits), rule)


FEW = [model("a"), model("org/b", context_window=9, max_output_tokens=3), model("c")]
MANY = [model(f"m{n:04}") for n in range(1500)]


def found(
    query: str = "", path: str = "/v1/models", dialect: Dialect = "messages", models: list[Resolved] = FEW
) -> dict[str, Any]:
    answer = listing(models, dialect, path, query)
    assert isinstance(answer, bytes), answer
    read: dict[str, Any] = json.loads(answer)
    return read


def test_anthropics_list() -> None:
    answer = found()
    entry = {"type": "model", "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
    assert answer["data"][0] == {**entry, "id": "a", "display_name": "a"}
    assert answer["data"][1] == {
        **entry,
        "id": "org/b",
        "display_name": "org/b",
        "max_input_tokens": 9,
        "max_tokens": 3,
    }
    assert {key: answer[key] for key in ("has_more", "first_id", "last_id")} == {
        "has_more": False,
        "first_id": "a",
        "last_id": "c",
    }


def test_openais_list_has_no_pages() -> None:
    answer = found("limit=1&after_id=a", dialect="chat", models=MANY)
    assert answer["object"] == "list"
    assert len(answer["data"]) == 1500
    assert answer["data"][0] == {"id": "m0000", "object": "model", "created": 0, "owned_by": "openai"}


def test_an_empty_list() -> None:
    assert found(models=[]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert found(models=[], dialect="chat") == {"object": "list", "data": [], "models": []}


@pytest.mark.parametrize(
    ("query", "first", "last", "more"),
    [
        ("", 0, 19, True),
        ("limit=1000", 0, 999, True),
        ("limit=5&limit=2", 0, 1, True),
        ("limit=3&after_id=m0009", 10, 12, True),
        ("limit=1000&after_id=m0500", 501, 1499, False),
        ("limit=1000&after_id=m0499", 500, 1499, False),
        ("limit=3&before_id=m0009", 6, 8, True),
        ("limit=3&before_id=m0003", 0, 2, False),
        ("limit=3&before_id=m0002", 0, 1, False),
        ("limit=3&before_id=m0009&after_id=m0007", 8, 8, True),
        ("after_id=nobody", 0, 19, True),
        ("beta=true&after_id=", 0, 19, True),
    ],
)
def test_pages(query: str, first: int, last: int, more: bool) -> None:
    answer = found(query, models=MANY)
    assert (answer["first_id"], answer["last_id"], answer["has_more"]) == (f"m{first:04}", f"m{last:04}", more)
    assert len(answer["data"]) == last - first + 1


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("lifecycle=active", 3),
        ("lifecycle[]=retired&lifecycle[]=active", 3),
        ("lifecycle[]=retired", 0),
        ("lifecycle=deprecated,retired", 0),
    ],
)
def test_all_that_is_listed_is_active(query: str, count: int) -> None:
    assert len(found(query)["data"]) == count


@pytest.mark.parametrize("after", ["m1499"])
def test_after_the_last_there_is_nothing(after: str) -> None:
    assert found(f"after_id={after}", models=MANY) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", "9" * 5000, "%00"])
def test_a_limit_that_is_none(limit: str) -> None:
    answer = listing(FEW, "messages", "/v1/models", f"limit={limit}")
    assert isinstance(answer, Rejection)
    assert (answer.http_status, answer.path) == (400, "limit")


@pytest.mark.parametrize("base", ["/v1/models/", "/anthropic/v1/models/"])
@pytest.mark.parametrize(("name", "expected"), [("a", "a"), ("org/b", "org/b"), ("org%2Fb", "org/b")])
def test_one(base: str, name: str, expected: str) -> None:
    assert found(path=base + name)["id"] == expected
    assert found(path=base + name, dialect="chat")["object"] == "model"


@pytest.mark.parametrize("name", ["none", "", "A", "a/", "%ff", "x" * 5000])
def test_an_unknown_one(name: str) -> None:
    answer = listing(FEW, "messages", f"/v1/models/{name}", "")
    assert isinstance(answer, Rejection)
    assert (answer.http_status, answer.kind, answer.code) == (404, "not_found_error", "model_not_found")
    assert answer.message.startswith("model: ")
    assert len(answer.message) <= 207


@pytest.mark.parametrize("dialect", ["messages", "chat"])
def test_merged_lists_have_the_members_of_both(dialect: Dialect) -> None:
    answer = listing(FEW, dialect, "/v1/models", "", merged=True)
    assert isinstance(answer, bytes)
    found = json.loads(answer)
    assert found.keys() == {"object", "data", "models", "has_more", "first_id", "last_id"}
    assert (found["object"], found["models"]) == ("list", [])
    expected = {"id": "a", "object": "model", "created": 0, "owned_by": "openai", "type": "model", "display_name": "a"}
    assert found["data"][0] == {**expected, "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
    one = listing(FEW, dialect, "/v1/models/a", "", merged=True)
    assert isinstance(one, bytes) and json.loads(one) == found["data"][0]


def test_merged_lists_have_pages_for_who_knows_them() -> None:
    counts: dict[Dialect, int] = {"messages": 20, "chat": 1500}
    for dialect, count in counts.items():
        answer = listing(MANY, dialect, "/v1/models", "", merged=True)
        assert isinstance(answer, bytes) and len(json.loads(answer)["data"]) == count
