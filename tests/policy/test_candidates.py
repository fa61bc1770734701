"""Who may be asked, in which order, and who is spared."""

from math import inf
from pathlib import Path

import msgspec
import pytest

from extproc.events import HandOver, Respond
from extproc.providers.availability import AvailabilityUpdate
from extproc.providers.cloud_credentials import CredentialUpdate, Sent
from tests.failing_over import ASK, Call, gateway

THREE = "models: [{name: m, providers: [{provider: a}, {provider: b}, {provider: c}]}]"


def asked(folder: Path, models: str, until: dict[str, float] | None = None, **changes: object) -> list[str]:
    """Names of the providers, in their order."""
    action = admitted(folder, models, until, **changes)
    assert isinstance(action, HandOver), action
    return [cluster.split(":")[1] for cluster in action.clusters]


def admitted(folder: Path, models: str, until: dict[str, float] | None = None, **changes: object) -> object:
    made = gateway(folder, models)
    made.availability.replace(AvailabilityUpdate(until or {}, []))
    return Call(made, ASK | changes).admitted


NOW = 1_000_000.0  # that of the playbook


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"a": NOW + 5}, ["b", "c"]),
        ({"a": NOW}, ["a", "b", "c"]),
        ({"a": NOW - 5, "c": inf}, ["a", "b"]),
        ({"a": NOW + 9, "b": NOW + 3, "c": NOW + 5}, ["b"]),
        ({"a": inf, "b": NOW + 30, "c": inf}, ["b"]),
    ],
)
def test_who_is_left_out(tmp_path: Path, until: dict[str, float], expected: list[str]) -> None:
    assert asked(tmp_path, THREE, until) == expected


@pytest.mark.parametrize(
    ("until", "expected"), [({}, ["a"]), ({"a": NOW + 99}, ["a"]), ({"a": inf}, ["d"]), ({"d": NOW + 9}, ["a"])]
)
def test_one_without_a_credential_is_asked_last_of_all(
    tmp_path: Path, until: dict[str, float], expected: list[str]
) -> None:
    cloud = "{cloud: google-vertex, project: p, location: eu, dialects: [messages], auth: {google: {metadata: true}}}"
    models = "models: [{name: m, providers: [{provider: d}, {provider: a}]}]"
    made = gateway(tmp_path, f"  d: {cloud}\n{models}")
    access = made.providers["d"].access
    assert access is not None and isinstance(access.source, Sent)
    access.source.sent.take(CredentialUpdate(access.source.spec.name, None, 0.0))
    made.availability.replace(AvailabilityUpdate(until, []))
    action = Call(made).admitted
    assert isinstance(action, HandOver)
    assert [cluster.split(":")[1] for cluster in action.clusters] == expected


def test_all_are_drained(tmp_path: Path) -> None:
    action = admitted(tmp_path, THREE, dict.fromkeys("abc", inf))
    assert isinstance(action, Respond) and (action.status, action.details) == (529, "drained")
    assert action.headers["retry-after"] == "5" and action.record["reason"] == "UpstreamUnavailable"


def test_no_more_than_attempts(tmp_path: Path) -> None:
    models = "models: [{name: m, providers: [{provider: a}, {provider: b}, {provider: c}], failover: {attempts: 2}}]"
    assert asked(tmp_path, models) == ["a", "b"]
    assert asked(tmp_path, models, {"a": inf}) == ["b", "c"]


REFUSING = """
models:
  - name: m
    providers:
      - {provider: a, deny: 'llm.max_tokens > 5'}
      - {provider: b, allow: 'jwt.team == "nobody"'}
      - {provider: c}
"""


def test_a_candidate_that_the_caller_may_not_use_is_skipped(tmp_path: Path) -> None:
    assert asked(tmp_path, REFUSING) == ["c"]
    assert asked(tmp_path, REFUSING, max_tokens=3) == ["a", "c"]


def test_a_refused_one_is_not_asked_because_others_are_out(tmp_path: Path) -> None:
    action = admitted(tmp_path, REFUSING, {"c": inf})
    assert isinstance(action, Respond) and action.details == "drained"


def test_all_are_refused(tmp_path: Path) -> None:
    models = "models: [{name: m, deny: 'true', providers: [{provider: a}, {provider: b}]}]"
    action = admitted(tmp_path, models)
    assert isinstance(action, Respond) and action.status == 403


CHOOSING = """
models:
  - name: m
    providers: [{provider: a}]
    choose:
      - {when: 'llm.max_tokens > 100', providers: [{provider: b}]}
      - {when: 'llm.max_tokens > 50', providers: [{provider: c}, {provider: a}]}
"""


@pytest.mark.parametrize(("tokens", "expected"), [(10, ["a"]), (60, ["c", "a"]), (200, ["b"])])
def test_the_first_that_holds_chooses(tmp_path: Path, tokens: int, expected: list[str]) -> None:
    assert asked(tmp_path, CHOOSING, max_tokens=tokens) == expected


STICKY = """
models:
  - name: m
    sticky: 'jwt.team + string(llm.max_tokens)'
    providers: [[{provider: a}, {provider: b}, {provider: c}]]
"""


def test_calls_that_share_are_drawn_alike(tmp_path: Path) -> None:
    orders = [tuple(asked(tmp_path, STICKY, max_tokens=number)) for number in range(1, 25)]
    assert orders == [tuple(asked(tmp_path, STICKY, max_tokens=number)) for number in range(1, 25)]
    assert {order[0] for order in orders} == {"a", "b", "c"}


def test_others_are_as_they_were(tmp_path: Path) -> None:
    """One that is out is missed by its own calls alone."""
    for number in range(1, 25):
        before = asked(tmp_path, STICKY, max_tokens=number)
        assert asked(tmp_path, STICKY, {"b": inf}, max_tokens=number) == [name for name in before if name != "b"]


def test_what_is_planned_is_handed_over(tmp_path: Path) -> None:
    made = gateway(tmp_path, THREE)
    made.availability.replace(AvailabilityUpdate({"a": inf}, []))
    assert msgspec.structs.asdict(Call(made).handover)["order"] == (2, 3)
