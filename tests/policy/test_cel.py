from typing import Any

import pytest

from extproc.config import Fault
from extproc.policy.cel import Rule, compile_rule, prepared

VARIABLES: dict[str, Any] = {
    "jwt": {"org": "acme", "n": 3, "nothing": None, "llms": {"openai": ["gpt-4o"]}},
    "request": {"method": "POST", "path": "/v1/messages", "headers": {"x-team": "a,b"}},
    "model": "gpt-4o",
    "provider": "openai",
    "upstream_model": "gpt-4o-2024",
}


def rule(text: str) -> Rule:
    compiled = compile_rule(text, ())
    assert isinstance(compiled, Rule), compiled.problem
    return compiled


def problem(text: str) -> str:
    fault = compile_rule(text, ("authorization", "allow", 0))
    assert isinstance(fault, Fault)
    assert fault.where == ("authorization", "allow", 0)
    return fault.problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('jwt.org == "acme"', True),
        ('jwt.org == "other"', False),
        ("model in jwt.llms.openai", True),
        ('request.headers["x-team"] == "a,b" && request.method == "POST"', True),
        ('provider == "openai" && upstream_model.startsWith("gpt")', True),
        ("has(jwt.absent)", False),
        ("jwt.n == 3", True),
        # All that is no boolean answer is a failure.
        ("jwt.absent == 1", None),
        ("jwt.org", None),
        ("jwt.n", None),
        ("jwt.nothing", None),
        ("jwt.n > 'a'", None),
        ("1 / (jwt.n - 3) == 1", None),
        # A failure that does not matter is none: CEL's own logic.
        ('jwt.absent == 1 || jwt.org == "acme"', True),
        ('jwt.absent == 1 && jwt.org == "other"', False),
    ],
)
def test_evaluates(text: str, expected: bool | None) -> None:
    assert rule(text).evaluate(prepared(VARIABLES)) is expected


@pytest.mark.parametrize("odd", ["\udc80", 2**70])
def test_a_value_that_cel_cannot_hold_is_a_failure_of_every_rule(odd: object) -> None:
    for text in ("jwt.odd != 1", "jwt.org == 'acme'", "has(jwt.absent)"):
        assert rule(text).evaluate(prepared({"jwt": {"org": "acme", "odd": odd}, "request": {}})) is None


@pytest.mark.parametrize(
    ("text", "early"),
    [
        ("jwt.org == 'acme'", True),
        ("request.path == '/x' || has(jwt.model)", True),
        ("model == 'x'", False),
        ("jwt.org == 'a' && provider == 'p'", False),
        ("upstream_model == 'x'", False),
    ],
)
def test_knows_when_it_can_be_decided(text: str, early: bool) -> None:
    assert rule(text).early is early


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Syntax error"),
        ("jwt.org ==", "Syntax error"),
        ("team == 'x'", "undeclared reference to 'team'"),
        ("model == 1", "no matching overload"),
        ("'acme'", "gives STRING, expected bool"),
        ("1", "gives INT, expected bool"),
        ("jwt", "expected bool"),
    ],
)
def test_what_is_no_rule_is_a_fault(text: str, says: str) -> None:
    assert says in problem(text)
    assert "\n" not in problem(text)
