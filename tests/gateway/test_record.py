import re
from typing import Any

import pytest

from extproc.config.endpoints import Endpoint, Operation
from extproc.errors import Kind, Reason, Rejection
from extproc.events import Record
from extproc.gateway import record
from extproc.policy.facts import ANONYMOUS, BodyRead, Caller, Identified
from extproc.providers.providers import Credential, Provider
from extproc.translate.pair import Outcome, Translated, Usage
from tests.stages import admitted, identified, light

FAILURE = Rejection(kind=Kind.API, message="secret words", reason=Reason.UPSTREAM, detail="upstream_500")
PROVIDER = Provider("openai", ("chat",), "https://h/v1", Credential("sk-1"))
CLAIMS: dict[str, Any] = {
    "sub": "ann",
    "iss": "lab",
    "team": "t",
    "n": 7,
    "x": 1.5,
    "b": False,
    "list": ["a"],
    "none": None,
}


def call(**members: Any) -> Identified:
    return identified(path="/p", request_id="r", **members)


def test_of_a_stranger() -> None:
    found = record.of_request(call(caller=ANONYMOUS), ["team"])
    assert found == {"request_id": "r", "http.path": "/p", "protocol": "llm", "dialect": "messages"}


def test_of_a_caller_the_claims_that_are_asked_for() -> None:
    endpoint = Endpoint("e", Operation.COUNT_TOKENS, "messages", "POST")
    found = record.of_request(
        call(caller=Caller(CLAIMS), endpoint=endpoint), ["team", "n", "x", "b", "list", "none", "no"]
    )
    claims = {"caller.team": "t", "caller.n": 7, "caller.x": 1.5, "caller.b": False, "caller.list": '["a"]'}
    known = {"jwt.sub": "ann", "jwt.iss": "lab", "endpoint": "e", "gen_ai.operation.name": "count_tokens"}
    assert found == {"request_id": "r", "http.path": "/p", "protocol": "llm", "dialect": "messages", **known, **claims}


def test_a_claim_cannot_pose_as_the_verdict() -> None:
    caller = Caller({"sub": "s", "verdict": "allow", "cluster": "provider:x"})
    assert not {"verdict", "cluster"} & record.of_request(call(caller=caller), ["verdict", "cluster"]).keys()


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_has_a_name(operation: Operation) -> None:
    endpoint = Endpoint("e", operation, "messages", "POST")
    assert record.of_request(call(endpoint=endpoint), [])["gen_ai.operation.name"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"ended": True}, ""),
        ({"ended": True, "reason": "Upstream"}, "Upstream"),
        ({"gen_ai.operation.name": "chat"}, "Aborted"),
        ({}, "Aborted"),
        ({"gen_ai.operation.name": "passthrough"}, ""),
        ({"gen_ai.operation.name": "passthrough", "ended": True, "reason": "JwtAuth"}, "JwtAuth"),
    ],
)
def test_why_a_call_ended(found: Record, reason: str) -> None:
    assert record.reason(found) == reason


def test_names_are_cut() -> None:
    found = record.of_model(BodyRead(admitted(), light({}), "m" * 1000))
    assert found == {"gen_ai.request.model": "m" * record.MAX_NAME}
    assert record.of_model(BodyRead(admitted(), light({}), "")) == {}
    assert record.of_outcome(Outcome(model="m" * 1000)) == {"gen_ai.response.model": "m" * record.MAX_NAME}


def test_of_a_translation() -> None:
    asked = Translated(path="/", body=b"", stream=True, model="m", warnings=("dropped:a", "dropped:b"), max_tokens=0)
    warned = {"warnings": "dropped:a,dropped:b", "gen_ai.request.max_tokens": 0}
    assert record.of_translation(asked) == {"gen_ai.request.stream": True, **warned}
    plain = Translated(path="/", body=b"", stream=False, model="m")
    assert record.of_translation(plain) == {"gen_ai.request.stream": False}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(), {}),
        (Outcome(complete=True), {"ended": True}),
        (Outcome(finish_reason="end_turn"), {"gen_ai.response.finish_reasons": "end_turn"}),
        (Outcome(failure=FAILURE), {"reason": "Upstream", "error": "upstream_500", "ended": True}),
        (
            Outcome(
                usage=Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=3, cache_creation_input_tokens=4)
            ),
            {
                "gen_ai.usage.input_tokens": 8,
                "gen_ai.usage.output_tokens": 2,
                "gen_ai.usage.cache_read.input_tokens": 3,
                "gen_ai.usage.cache_creation.input_tokens": 4,
            },
        ),
    ],
)
def test_of_an_outcome(outcome: Outcome, expected: dict[str, Any]) -> None:
    assert record.of_outcome(outcome) == expected


def test_an_estimate_is_marked() -> None:
    assert record.of_outcome(Outcome(usage=Usage(estimated=True)))["gen_ai.usage.estimated"] is True


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        (0.25, {"gen_ai.usage.cost": 0.25, "gen_ai.usage.cost.currency": "USD"}),
        (0.0, {"gen_ai.usage.cost": 0.0, "gen_ai.usage.cost.currency": "USD"}),
        (None, {}),
        (2_000_000.0, {}),
        (-0.1, {}),
    ],
)
def test_of_a_cost(usd: float | None, expected: dict[str, Any]) -> None:
    assert record.of_cost(usd) == expected


def test_of_a_rejection_a_code_and_not_its_words() -> None:
    assert record.of_rejection(FAILURE) == {"reason": "Upstream", "error": "upstream_500", "ended": True}
    bare = Rejection(kind=Kind.API, message="m", reason=Reason.INTERNAL)
    assert record.of_rejection(bare)["error"] == "api_error"


def test_the_verdict_names_the_cluster_and_no_key() -> None:
    assert record.verdict(PROVIDER.cluster) == {"verdict": "allow", "cluster": PROVIDER.cluster}
    assert "sk-1" not in str(record.of_provider(PROVIDER))


@pytest.mark.parametrize(
    ("claim", "shown"),
    [
        ({"a": ["\u00e4"]}, '{"a":["\u00e4"]}'), ([], "[]"), (10**400, str(10**400)), (float("inf"), "inf"), (-7, -7),
        (2**53, str(2**53)),
    ],
)  # fmt: skip
def test_what_a_claim_looks_like(claim: Any, shown: Any) -> None:
    assert record.of_request(call(caller=Caller({"sub": "s", "c": claim})), ["c"])["caller.c"] == shown


def test_a_claim_of_any_name_has_a_key_that_envoy_can_name() -> None:
    names = ["team", "https://acme.example/team", "urn:acme:team", "%REQ(AUTHORIZATION)%", "a b"]
    keys = [record.metadata_key(f"caller.{name}") for name in names]
    assert keys[0] == "caller.team" and len(set(keys)) == len(names)
    assert all(re.fullmatch(r"caller\.[\w.]+", key, re.ASCII) for key in keys)


@pytest.mark.parametrize("sub", [None, 7, ["a"], {"a": 1}, True])
def test_a_subject_that_is_no_string_names_nobody(sub: Any) -> None:
    assert Caller({"sub": sub}).subject == ""


@pytest.mark.parametrize(
    "odd", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\u2028", "\u2029", "\ufeff", "\ud800"]
)
def test_what_a_terminal_would_act_on_is_replaced(odd: str) -> None:
    assert record.presentable({"jwt.sub": f"a{odd}b \u00e4\u4e2d"}) == {"jwt.sub": "a?b \u00e4\u4e2d"}


@pytest.mark.parametrize(
    ("name", "most"), [("jwt.sub", 200), ("caller.team", 200), ("http.path", 300), ("warnings", 1100)]
)
@pytest.mark.parametrize("letter", ["x", "\u00e4", "\u4e2d", "\U0001f600"])
def test_strings_are_cut_by_their_bytes(name: str, most: int, letter: str) -> None:
    shown = record.presentable({name: letter * 2000, "n": 7, "b": True})
    text = str(shown.pop(name))
    assert most - 4 < len(text.encode()) <= most and set(text) == {letter}
    assert shown == {"n": 7, "b": True}
    assert record.presentable({name: letter * 10}) == {name: letter * 10}
