"""Lists of rules, what they leave for later, and what is remembered of them."""

import gc
import weakref
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from extproc.config.endpoints import Endpoint, Operation
from extproc.config.faults import Fault
from extproc.config.schema_models import Ruled
from extproc.policy.authorization.cel import Part, Rule
from extproc.policy.authorization.rules import Decisions, Rules, RuleSet, Seen
from extproc.policy.authorization.variables import AT_HEADERS, EVERYTHING, Subject
from extproc.policy.facts import Caller
from extproc.providers.catalogue import Catalogue, Resolved
from extproc.providers.loading import load_catalogue
from tests.settings import AUTHENTICATION, PROVIDERS, source
from tests.stages import identified

TRUE, FALSE, FAILS, TEXT = "jwt.yes", "jwt.no", "jwt.absent", "jwt.text"
LATE_TRUE, LATE_FALSE, LATE_FAILS = 'model == "m"', 'model == "x"', 'jwt.absent == 1 && model == "m"'
CLAIMS: dict[str, Any] = {"yes": True, "no": False, "text": "true", "sub": "ann"}
TEXTS = f"{AUTHENTICATION}\n{PROVIDERS}\n"
MODELS = 'models: [{name: "*", provider: openai}]\n'


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return load_catalogue(source(tmp_path_factory.mktemp("config"), TEXTS + MODELS), {"OPENAI_API_KEY": "k"})[0]


def seen_of(caller: Caller, model: Resolved | None = None) -> Seen:
    return Seen(Subject(identified(caller), model))


@pytest.fixture
def seen(catalogue: Catalogue) -> Seen:
    return seen_of(Caller(CLAIMS), catalogue.resolve("m"))


def rules(allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), require: tuple[str, ...] = ()) -> RuleSet:
    faults: list[Fault] = []
    made = RuleSet(("authorization",), Ruled(allow=[*allow], deny=[*deny], require=[*require]), faults)
    assert not faults
    return made


def passes(made: RuleSet, seen: Seen, known: frozenset[Part] = EVERYTHING) -> bool:
    return made.refusal(seen, known, Decisions()) is None


@pytest.mark.parametrize("failed", [FAILS, TEXT, LATE_FAILS])
def test_a_rule_that_fails_counts_against_the_caller(seen: Seen, failed: str) -> None:
    assert not passes(rules(allow=(failed,)), seen)
    assert not passes(rules(deny=(failed,)), seen)
    assert not passes(rules(require=(failed,)), seen)
    assert passes(rules(allow=(failed, TRUE)), seen)


@pytest.mark.parametrize(
    ("allow", "deny", "require", "refused"),
    [
        ((), (), (), None),
        ((TRUE,), (), (), None),
        ((FALSE,), (), (), "allow"),
        ((FALSE, TRUE), (), (), None),
        ((), (FALSE,), (), None),
        ((TRUE,), (FALSE, TRUE), (TRUE,), "deny.1"),
        ((TRUE,), (), (TRUE, FALSE), "require.1"),
        ((FALSE,), (), (TRUE,), "allow"),
        ((FALSE,), (TRUE,), (FALSE,), "deny.0"),
        ((), (), (TRUE,), None),
    ],
)
def test_deny_wins_all_are_required_one_must_allow(
    seen: Seen, allow: Any, deny: Any, require: Any, refused: str | None
) -> None:
    found = rules(allow, deny, require).refusal(seen, EVERYTHING, Decisions())
    assert (found and ".".join(map(str, found.where))) == (refused and f"authorization.{refused}")


@pytest.mark.parametrize(
    ("allow", "deny", "require", "at_headers", "at_body"),
    [
        ((LATE_FALSE,), (), (), True, False),
        ((LATE_TRUE,), (), (), True, True),
        ((FALSE, LATE_TRUE), (), (), True, True),
        ((FALSE, LATE_FALSE), (), (), True, False),
        ((), (LATE_TRUE,), (), True, False),
        ((), (TRUE, LATE_FALSE), (), False, False),
        ((), (), (LATE_FALSE,), True, False),
        ((), (), (FALSE, LATE_TRUE), False, False),
        ((FALSE,), (LATE_FALSE,), (), False, False),
    ],
)
def test_rules_that_need_the_body_wait_for_it(
    seen: Seen, allow: Any, deny: Any, require: Any, at_headers: bool, at_body: bool
) -> None:
    assert passes(rules(allow, deny, require), seen, AT_HEADERS) is at_headers
    assert passes(rules(allow, deny, require), seen) is at_body


def test_nothing_that_is_refused_at_the_headers_passes_later(seen: Seen) -> None:
    some = [(), (TRUE,), (FALSE,), (FAILS,), (LATE_TRUE,), (LATE_FALSE,), (FALSE, LATE_TRUE)]
    for allow, deny, require in product(some, some, some):
        made = rules(allow, deny, require)
        assert passes(made, seen, AT_HEADERS) or not passes(made, seen)


def test_faults_name_their_rule(tmp_path: Path) -> None:
    text = f"""{TEXTS}
authorization: {{allow: jwt., deny: ['true', 'nobody == 1']}}
models:
  - {{name: a, provider: openai, require: ["llm.temperature > 1", "true"]}}
  - {{name: b, provider: openai, allow: "1"}}
routes:
  - {{path: /x, serve: chat, deny: "llm.stream == 1"}}
  - {{path: "*", serve: passthrough, provider: openai, allow: ["true", "model in []"], deny: "model in llm.tools"}}
"""
    faults: list[Fault] = []
    read = source(tmp_path, text)
    Rules(read, load_catalogue(read, {"OPENAI_API_KEY": "k"})[0], faults)
    assert [".".join(map(str, fault.where)) for fault in faults] == [
        "authorization.allow.0", "authorization.deny.1", "routes.0.deny.0", "models.0.require.0", "models.1.allow.0",
        "routes.1.deny.0", "routes.1.allow.1",
    ]  # fmt: skip
    assert faults[-2].problem.startswith("reads the model and the body,")
    assert faults[-1].problem.startswith("reads the model,")
    assert str(read.explain(faults[-1:])).startswith(f"{tmp_path / 'gateway.yaml'}:13: routes.1.allow.1: reads")


def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of rules, each time one is really evaluated."""
    asked: list[str] = []
    evaluate = Rule.evaluate

    def counting(self: Rule, seen: Any) -> bool | None:
        asked.append(self.text)
        return evaluate(self, seen)

    monkeypatch.setattr(Rule, "evaluate", counting)
    return asked


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("jwt.yes", True),
        ("jwt.absent", True),
        ("caller.kind == 'jwt' && model == 'm' && provider == 'openai' && upstream_model == 'm'", True),
        ("request.path == '/' || model == 'm'", False),
        ("request.time > timestamp(0)", False),
        ("source.address == '::1' || jwt.yes", False),
        ("llm.stream || jwt.yes", False),
    ],
)
def test_what_is_remembered(monkeypatch: pytest.MonkeyPatch, seen: Seen, text: str, kept: bool) -> None:
    asked, decisions, made = evaluations(monkeypatch), Decisions(), rules(require=(text,))
    verdicts = {made.refusal(Seen(seen.subject), EVERYTHING, decisions) is None for _ in range(3)}
    assert len(verdicts) == 1
    assert len(asked) == (1 if kept else 3)


def test_no_two_callers_share_what_is_remembered(catalogue: Catalogue) -> None:
    decisions, made = Decisions(), rules(require=("model in jwt.llms",))
    callers = [Caller({"llms": llms}) for llms in (["a"], ["b"], ["a"], ["a", "b"])]
    for _ in range(2):
        for caller, model in product(callers, "ab"):
            seen = seen_of(caller, catalogue.resolve(model))
            assert (made.refusal(seen, EVERYTHING, decisions) is None) is (model in caller.claims["llms"])


def test_a_caller_is_not_taken_for_one_that_is_gone() -> None:
    """`id` of an object may be that of one that was there before."""
    decisions, made = Decisions(), rules(require=("jwt.yes",))
    for number in range(200):
        seen = seen_of(Caller({"yes": number % 2 == 0}))
        assert (made.refusal(seen, EVERYTHING, decisions) is None) is (number % 2 == 0)
        del seen
        gc.collect(0)


def test_a_caller_is_not_kept_alive() -> None:
    """How much memory callers take is for the cache of tokens to bound."""
    decisions, made = Decisions(), rules(require=("jwt.yes",))
    caller = Caller({"yes": True})
    assert made.refusal(seen_of(caller), EVERYTHING, decisions) is None
    gone = weakref.ref(caller)
    del caller
    gc.collect()
    assert gone() is None


def test_it_remembers_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, decisions, made = evaluations(monkeypatch), Decisions(size=3), rules(require=("jwt.yes",))
    seen = [seen_of(Caller({"yes": True})) for _ in range(4)]
    for one in (*seen[:3], seen[0], seen[3], seen[0]):  # the least recently asked goes first
        made.refusal(one, EVERYTHING, decisions)
    assert len(asked) == 4
    made.refusal(seen[1], EVERYTHING, decisions)
    assert len(asked) == 5


def test_the_rules_of_a_route_hold_for_all_that_is_served_there(tmp_path: Path) -> None:
    text = TEXTS + MODELS + "routes: [{path: /x, serve: chat, require: jwt.no}]"
    read = source(tmp_path, text)
    made = Rules(read, load_catalogue(read, {"OPENAI_API_KEY": "k"})[0], [])
    for route, refused in ((None, None), (0, ("routes", 0, "require", 0))):
        endpoint = Endpoint("e", Operation.GENERATE, "chat", "POST", route=route)
        found = made.refusal(Subject(identified(Caller(CLAIMS), endpoint=endpoint)), AT_HEADERS)
        assert (found and found.where) == refused
