"""What each variable holds, and that the documentation shows them as they are."""

from typing import Any

import msgspec
import pytest

from extproc.config.endpoints import Endpoint, Operation
from extproc.config.schema_models import Model
from extproc.events import Headers
from extproc.gateway.preparation import Task, prepare
from extproc.policy.authorization.body import Bounds
from extproc.policy.authorization.cel import Part, Rule
from extproc.policy.authorization.variables import VARIABLES, Subject, activation, compile_rule, values
from extproc.policy.facts import ANONYMOUS, Caller, Identified, LightBody, PreparedBody
from extproc.providers.catalogue import Resolved
from extproc.providers.catalogue import Rule as ModelRule
from extproc.providers.profiles import Profile
from extproc.providers.providers import Provider
from extproc.translate.job import Job
from extproc.translate.pair import Target
from tests.stages import identified
from tests.write_docs import DOCUMENT, written

FIELDS = [
    (":path", "/x?y"),
    (":authority", "Gateway.Example:8080"),
    ("x-a", "1"),
    ("authorization", "Bearer t"),
    ("x-api-key", "t"),
    ("cookie", "c"),
    ("x-a", "2"),
]
PROVIDER = Provider("p", ("chat",), "http://x", None)


def resolved(**settings: Any) -> Resolved:
    model = Model(name="*", provider="p", **settings)
    return Resolved("m", "u", PROVIDER, Profile(), ModelRule(0, Any, model, PROVIDER))  # type: ignore[arg-type]


BODY = {
    "stream": True,
    "max_tokens": 7,
    "messages": [{}],
    "tools": [{"name": "t"}],
    "thinking": {"type": "adaptive"},
    "metadata": {"user_id": '{"session_id": "s"}'},
}


def call(**changes: Any) -> Identified:
    known: dict[str, Any] = {
        "started": 1_767_605_400.5,
        "method": "POST",
        "path": "/x",
        "headers": Headers(FIELDS),
        "source": "10.0.0.7",
        "endpoint": Endpoint("e", Operation.GENERATE, "messages", "POST"),
        "caller": Caller({"sub": "ann", "n": 1}),
    }
    return identified(**(known | changes))


def subject(asked: Identified, model: Resolved | None = None, body: dict[str, Any] = BODY) -> Subject:
    return Subject(asked, model, LightBody(b"12345", body))


def holds(text: str, asked: Identified, model: Resolved | None = None, body: dict[str, Any] = BODY) -> bool | None:
    compiled = compile_rule(text, ())
    assert isinstance(compiled, Rule), compiled.problem
    seen = subject(asked, model, body)
    return compiled.evaluate(activation({k: v for part in Part for k, v in values(part, seen).items()}))


@pytest.mark.parametrize(
    "text",
    [
        'jwt == {"sub": "ann", "n": 1}',
        'caller.id == "ann" && caller.kind == "jwt"',
        'request.method == "POST" && request.path == "/x" && request.host == "gateway.example"',
        'request.headers == {"x-a": "1,2"}',
        'request.time == timestamp("2026-01-05T09:30:00.5Z")',
        'source.address == "10.0.0.7"',
        'provider == "p" && model == "m" && upstream_model == "u"',
        'llm.stream && llm.max_tokens == 7 && llm.tools == ["t"] && !llm.has_images',
        "llm.messages == 1 && llm.bytes == 5 && llm.size == 5 && llm.estimated_tokens == 2",
        '!llm.has_pdf && llm.thinking && !llm.background && llm.session == "s" && llm.agent == ""',
    ],
)
def test_a_whole_request(text: str) -> None:
    assert holds(text, call(), resolved()) is True


def test_no_rule_reads_a_credential() -> None:
    fields = Headers([*FIELDS, ("x-company-token", "t")])
    seen = values(Part.REQUEST, subject(call(headers=fields)), frozenset({"x-company-token"}))
    assert seen["request.headers"] == {"x-a": "1,2"}


def test_every_variable_has_its_type_and_place() -> None:
    found = {name: part for part in Part for name in values(part, subject(call(), resolved()))}
    assert found == {variable.name: variable.part for variable in VARIABLES}
    for variable in VARIABLES:
        assert holds(f"{variable.name} == {variable.name}", call(), resolved()) is True


def test_nobody() -> None:
    assert holds('caller.id == "" && caller.kind == "anonymous" && jwt == {}', call(caller=ANONYMOUS), None) is True


@pytest.mark.parametrize(
    ("authority", "host"),
    [("a.b", "a.b"), ("A.B:80", "a.b"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")],
)
def test_the_host(authority: str, host: str) -> None:
    assert holds(f'request.host == "{host}"', call(headers=Headers([(":authority", authority)])), None) is True


def test_of_a_call_that_passes_through_the_provider_is_known_and_no_more() -> None:
    passing = call(provider=PROVIDER, endpoint=Endpoint("e", Operation.PASSTHROUGH, None, "", "p"))
    assert holds('provider == "p"', passing, None) is True
    for text in ('model != "x"', 'upstream_model != "x"', "!llm.stream", "llm.bytes >= 0"):
        assert holds(text, passing, None) is None


def test_an_unknown_peer() -> None:
    assert holds('source.address != "10.0.0.7"', call(source=""), None) is None


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, 7),
        ({"defaults": {"max_tokens": 5}}, 7),
        ({"overrides": {"max_tokens": 5}}, 5),
    ],
)
def test_a_body_is_seen_as_it_will_be_sent(settings: dict[str, Any], limit: int) -> None:
    assert holds(f"llm.max_tokens == {limit}", call(), resolved(**settings)) is True


@pytest.mark.parametrize("settings", [{"defaults": {"max_tokens": 5}}, {"overrides": {"max_tokens": 5}}])
def test_a_limit_of_the_configuration_is_seen_in_every_dialect(settings: dict[str, Any]) -> None:
    asked = call(endpoint=Endpoint("e", Operation.GENERATE, "responses", "POST"))
    assert holds("llm.max_tokens == 5", asked, resolved(**settings), {"input": "q"}) is True


def test_what_the_client_says_of_itself_stands_in_headers() -> None:
    more = [("x-claude-code-session-id", "h"), ("x-claude-code-agent-type", "Explore")]
    fields = Headers([*FIELDS, *more, ("x-claude-code-request-class", "auxiliary")])
    assert holds('llm.session == "h" && llm.agent == "Explore" && llm.background', call(headers=fields), resolved())


@pytest.mark.parametrize("fields", [FIELDS, [*FIELDS, ("x-claude-code-agent-id", "a"), ("session-id", "h")]])
def test_a_heavy_body_is_seen_like_any_other(fields: list[tuple[str, str]]) -> None:
    raw, asked = msgspec.json.encode(BODY), call(headers=Headers(fields))
    light = Subject(asked, resolved(), LightBody(raw, BODY))
    target = Target(profile=Profile(), model="u", nonce="n")
    settings = resolved().settings("messages")
    job = Job(dialect="messages", provider=("chat",), model="m", settings=settings, target=target)
    prepared = prepare(raw, Task(job, Bounds(), 2.0))
    assert prepared.features is not None
    heavy = Subject(asked, resolved(), PreparedBody(raw, prepared.features, prepared.outcome))
    for part in (Part.LLM, Part.AGENT):
        assert values(part, heavy) == values(part, light)
        assert values(part, heavy).keys() == {one.name for one in VARIABLES if one.part is part}


def test_a_limit_that_nobody_set() -> None:
    unlimited: dict[str, Any] = {"messages": []}
    assert holds("llm.max_tokens < 100", call(), resolved(), unlimited) is None
    assert holds("llm.max_tokens < 100", call(), resolved(defaults={"max_tokens": 5}), unlimited) is True
    counting = call(endpoint=Endpoint("e", Operation.COUNT_TOKENS, "messages", "POST"))
    assert holds("llm.max_tokens == 0", counting, resolved(), unlimited) is True


def test_the_documentation_shows_the_table() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text), "python -m tests.write_docs writes it anew"
