"""What an expression gives, and what is no rule. A second opinion on each is in test_second_opinion."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.config.faults import Fault
from extproc.policy.authorization.cel import Part, Rule
from extproc.policy.authorization.variables import activation, compile_rule

CALLER, REQUEST, SOURCE, PROVIDER, MODEL, LLM, AGENT, _ = Part

VALUES: dict[str, Any] = {
    "jwt": {
        "org": "acme",
        "n": 3,
        "nothing": None,
        "admin": True,
        "groups": ["llm-users", "eng"],
        "llms": {"openai": ["gpt-4o"], "local": []},
        "email": "ann@acme.example",
        "nbf": 1_767_225_600,
    },
    "caller.id": "ann",
    "caller.kind": "jwt",
    "request.method": "POST",
    "request.path": "/v1/messages",
    "request.host": "gateway.example",
    "request.headers": {"x-team": "a,b"},
    "request.time": datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
    "source.address": "10.1.2.3",
    "model": "gpt-4o",
    "provider": "openai",
    "upstream_model": "gpt-4o-2024",
    "llm.stream": True,
    "llm.max_tokens": 4096,
    "llm.tools": ["bash", "web_search"],
    "llm.has_images": False,
    "llm.messages": 3,
    "llm.bytes": 2048,
    "llm.size": 2048,
    "llm.estimated_tokens": 512,
    "llm.has_pdf": False,
    "llm.thinking": True,
    "llm.background": False,
    "llm.session": "s",
    "llm.agent": "",
}

VERDICTS: list[tuple[str, bool | None]] = [
    ('jwt.org == "acme"', True),
    ('jwt.org == "other"', False),
    ('jwt["org"] != "other"', True),
    ("model in jwt.llms.openai", True),
    ("model in jwt.llms.local", False),
    ("model in jwt.llms[provider]", True),
    ('"llm-users" in jwt.groups', True),
    ('"openai" in jwt.llms', True),
    ('jwt.groups.exists(group, group.startsWith("llm-"))', True),
    ('jwt.groups.all(group, group == "eng")', False),
    ('jwt.groups.exists_one(group, group == "eng")', True),
    ('size(jwt.groups.filter(group, group == "eng")) == 1', True),
    ('jwt.groups.map(group, group + "!") == ["llm-users!", "eng!"]', True),
    ('jwt.email.endsWith("@acme.example")', True),
    ('jwt.email.matches("^[a-z]+@")', True),
    ('jwt.email.contains("@acme")', True),
    ("jwt.admin", True),
    ("!jwt.admin", False),
    ('jwt.admin ? jwt.n > 2 : jwt.org == "x"', True),
    ("jwt.n == 3", True),
    ("jwt.n % 2 == 1 && jwt.n * 2 - 1 >= 5", True),
    ("has(jwt.absent)", False),
    ("has(jwt.org) && has(jwt.llms.openai)", True),
    ("jwt.nothing == null", True),
    ('caller.id == "ann" && caller.kind == "jwt"', True),
    ('request.headers["x-team"] == "a,b" && request.method == "POST"', True),
    ('has(request.headers.other) || "x-team" in request.headers', True),
    ('request.host == "gateway.example"', True),
    ("request.time.getHours() >= 8 && request.time.getDayOfWeek() in [1, 2, 3, 4, 5]", True),
    ('request.time.getHours("Europe/Berlin") == 10', True),
    ('request.time < timestamp("2026-06-01T00:00:00Z")', True),
    ('request.time - timestamp("2026-01-05T09:00:00Z") <= duration("1h")', True),
    ("request.time > timestamp(jwt.nbf)", True),
    ('source.address.startsWith("10.1.")', True),
    ('provider == "openai" && upstream_model.startsWith("gpt")', True),
    ("llm.stream && llm.max_tokens <= 8192", True),
    ("llm.max_tokens > jwt.n * 1000", True),
    ('llm.tools.all(tool, tool in ["bash", "web_search", "glob"])', True),
    ('"web_search" in llm.tools', True),
    ("llm.has_images", False),
    ("llm.messages > 2 && llm.bytes < 1024 * 1024", True),
    ("size(model) == 6", True),
    ("jwt.n == 3.0", True),
    # All that is no boolean answer is a failure.
    ("jwt.absent == 1", None),
    ('jwt.llms.other == ["x"]', None),
    ('request.headers["absent"] == ""', None),
    ("jwt.org", None),
    ("jwt.n", None),
    ("jwt.nothing", None),
    ("jwt.n > 'a'", None),
    ("jwt.org.absent == 1", None),
    ("model in jwt.org", None),
    ("1 / (jwt.n - 3) == 1", None),
    ("jwt.groups[7] == 'x'", None),
    ("timestamp(jwt.org) > request.time", None),
    # A failure that does not matter is none: CEL's own logic.
    ('jwt.absent == 1 || jwt.org == "acme"', True),
    ('jwt.org == "acme" || jwt.absent == 1', True),
    ('jwt.absent == 1 && jwt.org == "other"', False),
    ('jwt.absent == 1 && jwt.org == "acme"', None),
]


def rule(text: str) -> Rule:
    compiled = compile_rule(text, ())
    assert isinstance(compiled, Rule), compiled.problem
    return compiled


@pytest.mark.parametrize(("text", "expected"), VERDICTS)
def test_evaluates(text: str, expected: bool | None) -> None:
    seen = activation(VALUES)
    assert rule(text).evaluate(seen) is expected
    assert isinstance(rule(text).answer(seen), str) is (expected is None)


@pytest.mark.parametrize("name", [name for name in VALUES if name != "jwt"])
def test_what_is_not_known_fails(name: str) -> None:
    known = {key: value for key, value in VALUES.items() if key != name}
    assert rule(f"{name} == {name}").evaluate(activation(VALUES)) is True
    assert rule(f"{name} == {name}").evaluate(activation(known)) is None
    assert rule(f"jwt.org == 'other' && {name} == {name}").evaluate(activation(known)) is False


@pytest.mark.parametrize("odd", ["\udc80", 2**70])
def test_a_value_that_cel_cannot_hold_is_a_failure_of_every_rule(odd: object) -> None:
    for text in ("jwt.odd != 1", "jwt.org == 'acme'", "has(jwt.absent)"):
        assert rule(text).evaluate(activation({"jwt": {"org": "acme", "odd": odd}})) is None


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", set()),
        ('["a"].exists(jwt, jwt == "a")', set()),
        ("jwt.org == 'acme' && caller.kind == 'jwt'", {CALLER}),
        ("request.path == '/x' || has(jwt.model)", {REQUEST, CALLER}),
        ("source.address == '::1'", {SOURCE}),
        ("model == 'x'", {MODEL}),
        ("jwt.org == 'a' && provider == 'p'", {CALLER, PROVIDER}),
        ("upstream_model == 'x'", {MODEL}),
        ("size(llm.tools) == 0 && model == 'x'", {MODEL, LLM}),
        ("llm.agent == '' && llm.size > 0", {LLM, AGENT}),
        ("jwt.groups.exists(model, model == 'x')", {CALLER}),
        ("jwt.model == 'llm.stream'", {CALLER}),
    ],
)
def test_knows_what_it_reads(text: str, reads: set[Part]) -> None:
    assert rule(text).reads == reads


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Syntax error"),
        ("jwt.org ==", "Syntax error"),
        ("team == 'x'", "undeclared reference to 'team'"),
        ("model == 1", "no matching overload"),
        ("llm.max_tokens == '4096'", "no matching overload"),
        ("llm.stream == 1", "no matching overload"),
        ("request.headers.x == 1", "no matching overload"),
        ("request.time > 5", "no matching overload"),
        ("1 in llm.tools", "no matching overload"),
        ("llm.temperature > 1", "undeclared reference to 'llm.temperature'"),
        ("llm['stream']", "undeclared reference to 'llm'"),
        ("request.query == ''", "undeclared reference to 'request.query'"),
        ("caller.team == ''", "undeclared reference to 'caller.team'"),
        ("source.port == 1", "undeclared reference to 'source.port'"),
        ("has(llm.temperature)", "undeclared reference to 'llm.temperature'"),
        ("has(llm.stream)", "has() is for a member of a map, such as jwt.team; llm.stream is none"),
        (
            "has( request.headers ) || true",
            "has() is for a member of a map, such as jwt.team; request.headers is none",
        ),
        ("jwt.org.matches(1)", "no matching overload"),
        ("now() > request.time", "undeclared reference to 'now'"),
        ("'acme'", "gives STRING, expected bool"),
        ("llm.max_tokens", "gives INT, expected bool"),
        ("jwt", "expected bool"),
    ],
)
def test_what_is_no_rule_is_a_fault(text: str, says: str) -> None:
    fault = compile_rule(text, ("authorization", "allow", 0))
    assert isinstance(fault, Fault)
    assert fault.where == ("authorization", "allow", 0)
    assert says in fault.problem
    assert "\n" not in fault.problem


NAMED: list[tuple[str, set[str] | None]] = [
    ("true", set()),
    ('["a"].exists(jwt, jwt == "a")', set()),
    ('caller.id == "jwt.x"', set()),
    ('jwt.org == "acme" && jwt.team in ["a", "b"]', {"org", "team"}),
    ("has(jwt.org) && has(jwt.realm.roles)", {"org", "realm"}),
    ("jwt . org == jwt\n.team", {"org", "team"}),
    ("""jwt["a b"] == jwt['c']""", {"a b", "c"}),
    ('jwt["a"]["b"].c == 1', {"a"}),
    ('"org" in jwt', {"org"}),
    ('("org" in jwt) && !("team" in jwt) || "x" in jwt.groups', {"org", "team", "groups"}),
    ('["x"].all(e, e != "y" || "org" in jwt)', {"org"}),
    ('has(jwt.a) ? "b" in jwt : "c" in jwt', {"a", "b", "c"}),
    ('jwt.sub.matches("^[a-z]+\\\\.dev$")', {"sub"}),
    ('jwt.sub == "https://idp.example/jwt"', {"sub"}),
    ("""jwt.sub == 'say "jwt"' || jwt.sub == "\\"" || jwt.sub == "'" """, {"sub"}),
    # The whole map, a computed name, or a form that is not understood.
    ("jwt.size() > 3", None),
    ("size(jwt) > 3", None),
    ('jwt == {"a": 1}', None),
    ('jwt.exists(name, name == "a")', None),
    ('[jwt].exists(x, x.a == "b")', None),
    ('jwt[request.method] == "x"', None),
    ('jwt["a" + "b"] == "x"', None),
    ('jwt["\\u0061"] == "x"', None),
    ("request.method in jwt", None),
    ('"a" + "b" in jwt', None),
    ('("a") in jwt', None),
    ('.jwt.org == "x"', None),
    ('jwt.a == r"\\d" && jwt.b == "x"', None),
    ('jwt.a == """x""" && jwt.b == "y"', None),
    ("jwt.a == 1 // and more", None),
    ('["a"].exists(jwt, jwt == "a") && has(jwt.x)', None),
]


@pytest.mark.parametrize(("text", "names"), NAMED, ids=[text for text, _ in NAMED])
def test_knows_which_claims_it_reads(text: str, names: set[str] | None) -> None:
    assert rule(text).claims == names


NAMES = ("a", "b", "ab")
STRINGS = st.sampled_from(['"a"', "'b'", '"a" + "b"', '"jwt.b"', "'\"'", '"\\\\"', '"\\""', 'r"a"', '"""b"""'])
READS = st.sampled_from(
    [*(f"jwt.{name}" for name in NAMES), *(f'jwt["{name}"]' for name in NAMES), 'jwt["a" + "b"]', "jwt.a.b", ".jwt.b"]
)
ATOMS = (
    STRINGS.map(lambda text: f"{text} in jwt")
    | READS.map(lambda text: f"has({text})" if text.startswith("jwt.") else f"{text} == 1")
    | st.tuples(READS, STRINGS).map(" == ".join)
    | st.sampled_from(["jwt.size() > 1", 'jwt.exists(n, n == "b")', "[jwt].exists(x, has(x.b))"])
)
ANY_RULE = st.recursive(
    ATOMS,
    lambda inner: (
        inner.map(lambda text: f"!({text})")
        | st.tuples(inner, inner).map(" && ".join)
        | st.tuples(inner, inner).map(" || ".join)
        | st.tuples(inner, inner, inner).map(lambda texts: "{} ? {} : {}".format(*texts))
    ),
    max_leaves=5,
)
ANY_VALUE = st.sampled_from([1, "a", "b", "ab", {"a": 1, "b": 1}, ["a"]])


@given(ANY_RULE, st.dictionaries(st.sampled_from([*NAMES, "c"]), ANY_VALUE))
def test_a_rule_gives_the_same_without_the_claims_that_it_does_not_name(text: str, claims: dict[str, Any]) -> None:
    compiled = compile_rule(text, ("authorization", "allow", 0))
    assume(isinstance(compiled, Rule))
    assert isinstance(compiled, Rule)
    if (names := compiled.claims) is not None:
        kept = {name: value for name, value in claims.items() if name in names}
        assert compiled.evaluate(activation({"jwt": claims})) == compiled.evaluate(activation({"jwt": kept}))
