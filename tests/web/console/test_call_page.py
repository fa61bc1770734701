"""One call's record with its decision: what is on record, and nothing that is guessed."""

import html
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.gateway.gateway import Gateway
from extproc.usage.calls import call_of
from extproc.web.console import call_page
from tests.issuing import ISSUER
from tests.settings import GATEWAY, gateway
from tests.usage_lines import LINE

CONFIG = f"""{GATEWAY.partition("providers:")[0]}
prices: {{overrides: [{{model: "*", input: 2, output: 6, cache_read: 0.5}}]}}
authorization: {{allow: ['jwt.org == "acme"', "jwt.guest"]}}
providers:
  claude: {{dialects: [messages], base_url: "https://claude.example"}}
  near: {{dialects: [chat], base_url: "https://near.example/v1"}}
models:
  - {{name: gold, provider: claude, require: 'jwt.team == "gold"'}}
  - name: best
    sticky: session
    providers: [{{provider: near}}, {{provider: claude, model: claude-sonnet-5}}]
    choose: [{{when: llm.background, providers: [{{provider: near, model: mini}}]}}]
"""


@pytest.fixture
def made(tmp_path: Path) -> Gateway:
    return gateway(tmp_path, CONFIG)


def shown(made: Gateway, *, sees_all: bool = True, **changes: Any) -> str:
    row = msgspec.structs.asdict(call_of(LINE, "a")) | {"issuer": ISSUER} | changes
    page = " ".join(call_page.parts(made, row, sees_all=sees_all))
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


@pytest.mark.parametrize(
    ("issuer", "subject", "said"),
    [
        (ISSUER, "ann", f"a token of {ISSUER} "),
        ("https://gone.example", "ann", "a token of https://gone.example, which is not configured any more"),
        ("", "key:ci", "the static key ci"),
        ("", "spiffe://corp.example/ci", "a client certificate"),
        ("", "", "nothing: the caller is anonymous"),
    ],
)
def test_which_authenticator_knew_the_caller(made: Gateway, issuer: str, subject: str, said: str) -> None:
    assert f"Authenticated by {said}" in shown(made, issuer=issuer, subject=subject)


def test_a_token_of_the_own_sign_in(tmp_path: Path) -> None:
    sign_in = '{public_url: "https://gw.example", issuer: "https://idp.example", client_id: x, allow: ["true"]}'
    made = gateway(tmp_path, f"{CONFIG}sign_in: {sign_in}\n")
    assert "Authenticated by a token of the gateway's own sign-in" in shown(made, issuer="https://gw.example")


def test_the_rule_that_refused(made: Gateway) -> None:
    refused: dict[str, Any] = {
        "provider": "",
        "cost": None,
        "reason": "ModelNotAllowed",
        "error": "model_not_allowed:models.0.require.0",
    }
    said = shown(made, **refused)
    assert "Rules refused by models.0.require.0" in said and 'as configured now jwt.team == "gold"' in said
    assert 'jwt.team == "gold"' not in shown(made, sees_all=False, **refused)
    of_list = shown(made, reason="Authorization", error="not_allowed:authorization.allow")
    assert 'jwt.org == "acme"; jwt.guest' in of_list
    assert "as configured now Caller" not in shown(
        made, error="not_allowed:authorization.deny.7", reason="Authorization"
    )


def test_a_budget_that_refused(made: Gateway) -> None:
    assert "the budget team was used up or reserved" in shown(made, reason="BudgetExceeded", error="budget:team")
    said = shown(made, reason="Authorization", error="budget_undecided:team")
    assert "the budget team could not tell from the caller's claims" in said


def test_what_is_not_on_record_is_not_guessed(made: Gateway) -> None:
    said = shown(made)
    assert "Rules none refused it; which rule of allow held is not on record" in said
    assert "Attempts" not in said
    assert "Rules and budgets not on record" in shown(made, provider="", reason="ModelNotFound", error="unknown_model")


def test_attempts(made: Gateway) -> None:
    said = shown(made, attempts="near 503 overloaded 0.42s 12+0 tokens 0.000024 USD; claude 200")
    assert "1 near 503 overloaded 0.42s 12+0 tokens 0.000024 USD moved on 2 claude 200 answered" in said
    assert "models.1: a list of choose, or providers; calls with the same session are drawn alike" in said
    failed = shown(made, attempts="near 503; claude 529 overloaded 1.00s", reason="Upstream", error="overloaded")
    assert "2 claude 529 overloaded 1.00s told to the client" in failed
    assert "models.1" not in shown(made, sees_all=False, attempts="near 503; claude 200")


def test_how_the_cost_comes_about(made: Gateway) -> None:
    """600 tokens of input beside 400 from the cache, and 100 of output."""
    said = shown(made, cost=2_000_000)
    assert (
        "Input 600 $2.0000 $0.0012 Read from the cache 400 $0.5000 $0.0002 Output 100 $6.0000 $0.0006 Sum 1,100" in said
    )
    assert "$0.0020" in said
    assert "another one" not in said
    assert "The cost on record is another one" in shown(made, cost=2_680_001)


@pytest.mark.parametrize("changes", [{"cost": None}, {"provider": "gone"}, {"input_tokens": None, "cost": 5}])
def test_a_cost_that_cannot_be_explained(made: Gateway, changes: dict[str, Any]) -> None:
    assert "Tokens by kind" not in shown(made, **changes)


def test_such_a_call_can_be_tried(made: Gateway) -> None:
    row = msgspec.structs.asdict(call_of(LINE, "a"))
    assert 'href="/console/playground?dialect=messages&amp;model=best"' in " ".join(
        call_page.parts(made, row, sees_all=False)
    )
    assert "playground" not in " ".join(call_page.parts(made, row | {"endpoint": "passthrough"}, sees_all=False))
