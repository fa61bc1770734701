"""The CEL project's published conformance cases, as rules (tests/capture_conformance.py)."""

import json

import pytest

from extproc.policy.authorization.cel import Rule
from extproc.policy.authorization.variables import activation, compile_rule
from tests.capture_conformance import RECORDED, parsed, rule

CASES: dict[str, tuple[str, bool | None]] = json.loads(RECORDED.read_text())

# Neither lets anybody pass who should not: the first needs a rule that gives one key twice.
DIFFERENCES = {
    "fields/qualified_identifier_resolution/map_value_repeat_key_heterogeneous": "one key as two types of number",
    "parse/nest/parens": "32 pairs of parentheses: more than 31 are a fault at load time",
}


def verdict(text: str) -> bool | None:
    """A rule that is refused at load time lets nobody pass either."""
    compiled = compile_rule(text, ())
    return compiled.evaluate(activation({})) if isinstance(compiled, Rule) else None


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    text, expected = CASES[name]
    assert (verdict(text) is expected) is (name not in DIFFERENCES)


def test_all_kinds_of_cases_are_there() -> None:
    assert len(CASES) == 557 and set(DIFFERENCES) <= set(CASES)
    verdicts = [expected for _, expected in CASES.values()]
    assert [verdicts.count(value) for value in (True, False, None)] == [386, 104, 67]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('expr: "1 in [1]" value: { bool_value: true }', ("1 in [1]", True)),
        ('expr: "!true" value { bool_value: false }', ("!true", False)),
        ('# two\nexpr: "1 + 1", value: { int64_value: 2 }', ("(1 + 1) == 2", True)),
        ('expr: "1 / 0" eval_error: { errors: { message: "divide by zero" } }', ("(1 / 0) == (1 / 0)", None)),
        ('expr: "\'\\303\\277\'" value: { string_value: "\\u00ff" }', ("('\u00ff') == \"\u00ff\"", True)),
        (
            'expr: "[1u]" value: { list_value { values: [ { uint64_value: 1 }, { null_value: NULL_VALUE } ] } }',
            ("([1u]) == [1u, null]", True),
        ),
        (
            'expr: "m" value: { map_value { entries { key { string_value: "a" } value { double_value: -0.5 } } } }',
            ("(m) == {\"a\": double('-0.5')}", True),
        ),
        ('expr: "x" bindings: { key: "x" value: { value: { int64_value: 1 } } }', None),
        ('expr: "0.0 / 0.0" value: { double_value: nan }', None),
        ('expr: "TestAllTypes{}" value: { object_value: { [type.googleapis.com/a.B]: { c: 1 } } }', None),
    ],
)
def test_how_cases_become_rules(text: str, expected: tuple[str, bool | None] | None) -> None:
    assert rule(parsed(text)) == expected
