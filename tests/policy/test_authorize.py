from itertools import product
from pathlib import Path
from typing import Any

import pytest

from extproc import providers
from extproc.config import Fault, Source
from extproc.endpoints import Endpoint, Operation
from extproc.errors import Reason, Rejection
from extproc.events import Headers
from extproc.facts import Caller, Facts
from extproc.policy.authorize import Authorize, AuthorizeModel, RuleSet, variables
from extproc.policy.cel import Rule, compile_rule, prepared
from tests.playbook import done
from tests.settings import AUTHENTICATION, PROVIDERS, source

TRUE, FALSE, FAILS, TEXT = "jwt.yes", "jwt.no", "jwt.absent", "jwt.text"
LATE_TRUE, LATE_FALSE, LATE_FAILS = 'model == "m"', 'model == "x"', 'jwt.absent == 1 && model == "m"'
CLAIMS: dict[str, Any] = {"yes": True, "no": False, "text": "true", "sub": "ann"}
SEEN = prepared({"jwt": CLAIMS, "request": {}, "model": "m", "provider": "p", "upstream_model": "u"})


def rules(*texts: str) -> list[Rule]:
    return [rule for text in texts if isinstance(rule := compile_rule(text, ()), Rule)]


def verdict(
    allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), require: tuple[str, ...] = (), *, complete: bool = True
) -> bool:
    return RuleSet(rules(*allow), rules(*deny), rules(*require)).verdict(SEEN, complete=complete)


@pytest.mark.parametrize("failed", [FAILS, TEXT, LATE_FAILS])
def test_a_rule_that_fails_counts_against_the_caller(failed: str) -> None:
    assert not verdict(allow=(failed,))
    assert not verdict(deny=(failed,))
    assert not verdict(require=(failed,))
    assert verdict(allow=(failed, TRUE))


@pytest.mark.parametrize(
    ("allow", "deny", "require", "expected"),
    [
        ((), (), (), True),
        ((TRUE,), (), (), True),
        ((FALSE,), (), (), False),
        ((FALSE, TRUE), (), (), True),
        ((), (FALSE,), (), True),
        ((TRUE,), (FALSE, TRUE), (TRUE,), False),
        ((TRUE,), (), (TRUE, FALSE), False),
        ((FALSE,), (), (TRUE,), False),
        ((), (), (TRUE,), True),
    ],
)
def test_deny_wins_all_are_required_one_must_allow(allow: Any, deny: Any, require: Any, expected: bool) -> None:
    assert verdict(allow, deny, require) is expected


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
    allow: Any, deny: Any, require: Any, at_headers: bool, at_body: bool
) -> None:
    assert verdict(allow, deny, require, complete=False) is at_headers
    assert verdict(allow, deny, require) is at_body


def test_nothing_that_is_refused_at_the_headers_passes_later() -> None:
    some = [(), (TRUE,), (FALSE,), (FAILS,), (LATE_TRUE,), (LATE_FALSE,), (FALSE, LATE_TRUE)]
    for allow, deny, require in product(some, some, some):
        assert verdict(allow, deny, require, complete=False) or not verdict(allow, deny, require)


GLOBAL = f"{AUTHENTICATION}\n{PROVIDERS}\nauthorization: {{allow: ['jwt.yes'], deny: ['model == \"banned\"']}}\n"
MODELS = """
models:
  - {name: open, provider: openai}
  - {name: banned, provider: openai}
  - {name: own, provider: openai, allow: "jwt.no"}
  - {name: either, provider: openai, allow: ["jwt.absent", "upstream_model == 'either'"]}
"""


def steps(source: Source, faults: list[Fault]) -> tuple[Authorize, AuthorizeModel, providers.Catalogue]:
    catalogue, _, _ = providers.load(source, {"OPENAI_API_KEY": "k"})
    everyone = Authorize(source, faults)
    return everyone, AuthorizeModel(source, catalogue, everyone, faults), catalogue


def facts(operation: Operation = Operation.GENERATE, **claims: Any) -> Facts:
    return Facts(0, endpoint=Endpoint("e", operation, "messages", "POST"), caller=Caller(CLAIMS | claims))


def refused(step: Any, facts: Facts) -> Rejection | None:
    found: Any = done(step(facts, 0.0))
    assert found is None or isinstance(found, Rejection)
    return found


@pytest.mark.parametrize(("yes", "operation", "ok"), [
    (True, Operation.GENERATE, True),
    (False, Operation.GENERATE, False),
    (False, Operation.LIST_MODELS, False),
    (False, Operation.PASSTHROUGH, False),
    (True, Operation.PASSTHROUGH, True),
    (False, Operation.PROBE, True),
])  # fmt: skip
def test_at_the_headers(tmp_path: Path, yes: bool, operation: Operation, ok: bool) -> None:
    everyone, _, _ = steps(source(tmp_path, GLOBAL + MODELS), [])
    rejection = refused(everyone, facts(operation, yes=yes))
    assert (rejection is None) is ok
    assert rejection is None or (rejection.http_status, rejection.reason) == (403, Reason.AUTHORIZATION)


@pytest.mark.parametrize(
    ("model", "reason"),
    [("open", None), ("banned", Reason.AUTHORIZATION), ("own", Reason.MODEL_NOT_ALLOWED), ("either", None)],
)
def test_at_the_body(tmp_path: Path, model: str, reason: Reason | None) -> None:
    _, step, catalogue = steps(source(tmp_path, GLOBAL + MODELS), [])
    asked = facts()
    asked.model, asked.resolved = model, catalogue.resolve(model)
    rejection = refused(step, asked)
    assert (rejection.reason if rejection else None) is reason
    assert asked.resolved is not None
    assert step.permits(asked, asked.resolved) is (reason is None)


def test_faults_name_their_rule(tmp_path: Path) -> None:
    found: list[Fault] = []
    steps(source(tmp_path, (GLOBAL + MODELS).replace("jwt.yes", "jwt.").replace("jwt.no", "1")), found)
    assert [fault.where for fault in found] == [("authorization", "allow", 0), ("models", 2, "allow", 0)]


def test_what_rules_see() -> None:
    fields = [
        (":path", "/x"),
        ("x-a", "1"),
        ("authorization", "Bearer t"),
        ("x-api-key", "t"),
        ("cookie", "c"),
        ("x-a", "2"),
    ]
    asked = facts()
    asked.headers, asked.method, asked.path = Headers(fields), "POST", "/x"
    seen = variables(asked)
    for text in (
        'request.headers == {"x-a": "1,2"}',
        'request.method == "POST" && request.path == "/x"',
        'model == "" && provider == "" && upstream_model == ""',
        'jwt.sub == "ann"',
    ):
        [rule] = rules(text)
        assert rule.evaluate(seen) is True, text
