"""An attempt begins with what its admission handed over, or not at all."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.events import AwaitBody, Forward, Respond
from extproc.gateway.handover import encoded
from tests.failing_over import ASK, Call, gateway
from tests.playbook import START, done

MODELS = "models: [{name: m, providers: [{provider: a}, {provider: b}]}]"


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(gateway(tmp_path, MODELS))


def begun(call: Call, at: int = 1, **changes: Any) -> object:
    steps = call.gateway.attempts
    event = msgspec.structs.replace(call.headers_of_attempt(at), **changes)
    [action] = done(steps.handle(steps.exchange(START), event, START))
    return action


def test_it_begins(call: Call) -> None:
    action = begun(call)
    assert isinstance(action, AwaitBody) and action.record["attempts"] == "a"


@pytest.mark.parametrize("number", [0, 3, 999])
def test_an_attempt_that_was_not_planned_is_none(call: Call, number: int) -> None:
    with pytest.raises(ValueError, match="not planned"):
        begun(call, 1, number=number)


@pytest.mark.parametrize("handover", ["", "-", "AAAA"])
def test_what_no_admission_wrote_is_refused(call: Call, handover: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - also that of base64
        begun(call, handover=handover)


def test_another_providers_cluster_gets_nothing(call: Call) -> None:
    """Envoy may be ahead of the configuration, or behind it."""
    action = begun(call, 1, cluster=call.handed_over.clusters[1])
    assert isinstance(action, Respond) and (action.status, action.details) == (503, "candidate_gone")


def test_a_candidate_that_is_gone_gets_nothing(call: Call, tmp_path: Path) -> None:
    call.gateway = gateway(tmp_path, "models: [{name: m, providers: [{provider: c}]}]")
    action = begun(call, 1, cluster=call.handed_over.clusters[0])
    assert isinstance(action, Respond) and action.details == "candidate_gone"
    assert action.headers["retry-after"] == "1"


@pytest.mark.parametrize("size", [10, 600_000])
def test_the_body_is_read_again(tmp_path: Path, size: int) -> None:
    """A large one by the translator's process, where there is one."""
    call = Call(gateway(tmp_path, MODELS), ASK | {"messages": [{"role": "user", "content": "x" * size}]})
    for number in (1, 2):
        _, action = call.attempt(number)
        assert isinstance(action, Forward) and b"x" * size in action.body


def test_its_trace_is_the_calls(call: Call) -> None:
    found = call.handover
    assert encoded(found) == call.handed_over.handover and found.trace == {}
