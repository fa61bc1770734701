"""Who may use the API for budgets, and what is said to whoever may not."""

import json
from pathlib import Path

import pytest

from extproc.transport.control import MAYBE_DONE, BudgetAnswer, BudgetCommand, Unreachable
from extproc.web.topics import ADDRESS_HEADER
from tests import issuing
from tests.web.administered import AdministeredSite

PATH = "/admin/budgets"


def test_an_operator_is_who_a_rule_admits(administered: AdministeredSite) -> None:
    assert administered.api("GET", PATH).status_code == 200
    assert administered.api("GET", PATH, team="auditors").status_code == 200
    assert administered.api("POST", PATH, {}, team="auditors").status_code == 403
    refused = administered.api("GET", PATH, team="data")
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
    assert refused.json()["error"]["message"] == "this caller may not administer budgets (admin.allow)"


def test_a_rule_that_fails_admits_nobody(administered: AdministeredSite) -> None:
    assert administered.api("GET", PATH, team=None).status_code == 403


def test_a_rule_can_read_where_a_caller_is(administered: AdministeredSite) -> None:
    """As Envoy says, which overwrites the header."""
    headers = {"authorization": f"Bearer {issuing.token(issuing.claims(team='data'))}"}
    assert administered.get(PATH, headers=headers).status_code == 403
    assert administered.get(PATH, headers=headers | {ADDRESS_HEADER: "192.0.2.99"}).status_code == 200


def test_a_changer_has_a_name(administered: AdministeredSite) -> None:
    refused = administered.api("GET", PATH, sub=None)
    assert refused.status_code == 403 and "no subject for the audit" in refused.text


@pytest.mark.parametrize("token", [None, "none", issuing.token(issuing.claims(exp=1))])
def test_a_credential_is_needed(administered: AdministeredSite, token: str | None) -> None:
    headers = {"x-request-id": "id-1"} | ({"authorization": f"Bearer {token}"} if token else {})
    refused = administered.get(PATH, headers=headers)
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert refused.headers["request-id"] == refused.json()["request_id"] == "id-1"
    assert administered.commands == []


def test_without_rules_nobody_is_admitted(tmp_path: Path) -> None:
    with AdministeredSite(tmp_path, "admin: {}") as site:
        assert site.api("GET", PATH).status_code == 403


def test_other_methods_and_bodies(administered: AdministeredSite) -> None:
    answer = administered.api("PUT", PATH, {})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert answer.json()["type"] == "error" and answer.headers["request-id"] == "id-1"
    for method in ("PROPFIND", "TRACE"):
        assert administered.api(method, PATH, team="data").status_code == 403, method
        refused = administered.api(method, PATH)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST"), method
        assert refused.json()["error"]["type"] == "invalid_request_error", method
    token = issuing.token(issuing.claims(team="operators"))
    headers = {"authorization": f"Bearer {token}"}
    form = administered.post(PATH, {"command": "reset"}, headers=headers)
    assert form.status_code == 400 and "content-type: expected application/json" in form.text
    headers |= {"content-type": "application/json"}
    for body in (b"", b"{", b"\xff", b"[1]"):
        assert administered.post(PATH, body, headers=headers).status_code == 400, body
    large = json.dumps({"command": "reset", "budget": "x" * 20_000}).encode()
    refused = administered.post(PATH, large, headers=headers)
    assert refused.status_code == 413 and refused.json()["type"] == "error"
    assert administered.commands == []


@pytest.mark.parametrize("answer", [Unreachable("nobody answers"), BudgetAnswer(problem="no", store_down=True)])
def test_counters_that_cannot_be_reached_are_a_503(
    administered: AdministeredSite, answer: Unreachable | BudgetAnswer
) -> None:
    def ask(_path: Path, _command: BudgetCommand) -> BudgetAnswer:
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    administered.ask_budgets = ask
    administered.restart()
    found = administered.api("GET", PATH)
    assert (found.status_code, found.headers["retry-after"], found.headers["request-id"]) == (503, "2", "id-1")
    assert "nobody" not in found.text


def test_nobody_is_told_to_repeat_a_change_that_may_have_been_made(administered: AdministeredSite) -> None:
    """A grant would be made twice."""
    administered.ask_budgets = lambda _path, _command: BudgetAnswer(problem="timed out", maybe_done=True)
    administered.restart()
    grant = {"command": "grant", "budget": "team-month", "key": "data", "amount": 50}
    found = administered.api("POST", PATH, grant)
    assert found.status_code == 503 and "retry-after" not in found.headers
    assert found.json()["error"]["message"] == MAYBE_DONE
