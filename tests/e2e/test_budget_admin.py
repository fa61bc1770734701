"""Operators show and change limits of a running gateway by its API, and by `extproc budget --gateway`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from extproc.policy.authentication import api_keys
from tests.e2e.raw_provider import FINE, RawProvider
from tests.e2e.stack import Json, Stack, prompt, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
  api_keys: {file: keys.yaml}
providers:
  own: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: "*", provider: own}
prices: {overrides: [{model: "*", input: 2, output: 6}]}
budgets:
  - {name: calls, key: 'jwt.sub', when: 'jwt.team != "free"', limit: {requests: 1}, per: day}
  - {name: person-month, key: 'jwt.sub', limit: {usd: 100}, per: month}
  - {name: team-month, key: 'jwt.team', limit: {usd: 500}, per: month}
admin:
  allow:
    - 'jwt.team == "operators"'
    - 'jwt.team == "auditors" && request.method == "GET"'
workers: 2
"""
LIMITS = "/v1/organizations/spend_limits"


@dataclass
class Administered:
    stack: Stack
    key: str
    """A static key of an operator."""
    people: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    @property
    def operator(self) -> str:
        return self.stack.token(team="operators", claims={"sub": "olga"})

    def person(self) -> str:
        return f"person-{next(self.people)}"

    def calls(self, person: str, count: int) -> list[int]:
        token = self.stack.token(team="data", claims={"sub": person})
        return [self.stack.call(prompt("q", max_tokens=2), token=token).status_code for _ in range(count)]

    def api(self, method: str, path: str, body: Json | None = None, token: str | None = "") -> httpx.Response:
        return self.stack.call(body, path=path, method=method, token=self.operator if token == "" else token)

    def command(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "extproc", "budget", *words]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.stack.folder), **environ}
        folder = self.stack.folder.parent  # the configuration is not here, as on a machine of somebody else
        return subprocess.run(
            argv, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=30
        )

    def remote(self, *words: str) -> str:
        done = self.command(*words, "--gateway", self.stack.url, EXTPROC_TOKEN=self.operator)
        return done.stdout + done.stderr

    def changes(self, command: str, person: str, amount: float | None = None) -> None:
        """Of the budget `calls`, by the API."""
        body = {"command": command, "budget": "calls", "key": person, "amount": amount}
        answer = self.api("POST", "/admin/budgets", body)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    folder = tmp_path_factory.mktemp("admin")
    key, line = api_keys.new("ops", {"team": "operators"}, None, time.time())
    (folder / "keys.yaml").write_text(line + "\n")
    with RawProvider().serving() as provider:
        provider.plays(FINE)
        with up(folder, environ={"RAW_URL": provider.url}, config=CONFIG) as stack:
            yield Administered(stack, key)


@pytest.mark.parametrize("path", ["/admin/budgets", LIMITS, f"{LIMITS}/effective", f"{LIMITS}/spl_1"])
def test_a_caller_must_be_admitted(administered: Administered, path: str) -> None:
    stranger = administered.stack.token(team="data")
    for token, status, kind in ((None, 401, "authentication_error"), ("no-token", 401, "authentication_error"),
                                (stranger, 403, "permission_error")):  # fmt: skip
        answer = administered.api("GET", path, token=token)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert answer.headers["request-id"] == answer.json()["request_id"] != ""


def test_a_rule_can_let_somebody_read_only(administered: Administered) -> None:
    auditor = administered.stack.token(team="auditors")
    change = {"command": "reset", "budget": "calls", "key": "nobody"}
    assert administered.api("GET", "/admin/budgets", token=auditor).status_code == 200
    assert administered.api("POST", "/admin/budgets", change, token=auditor).status_code == 403


def test_a_limit_that_is_set_from_elsewhere_decides_the_next_call(administered: Administered) -> None:
    person = administered.person()
    assert administered.calls(person, 2) == [200, 429]
    assert administered.remote("set", "calls", person, "3") == "done\n"
    assert administered.calls(person, 3) == [200, 200, 429]
    administered.changes("grant", person, 1)
    assert administered.calls(person, 2) == [200, 429]
    administered.changes("reset", person)
    assert administered.calls(person, 1) == [200]


def test_a_static_key_is_as_good_as_a_token(administered: Administered) -> None:
    headers = {"x-api-key": administered.key}
    listed = administered.stack.call(path="/admin/budgets", method="GET", token=None, headers=headers)
    assert listed.status_code == 200
    person = administered.person()
    administered.changes("set", person, 4)
    assert administered.calls(person, 1) == [200]
    file = administered.stack.folder / "key"
    file.write_text(administered.key + "\n")
    done = administered.command("list", "--gateway", administered.stack.url, "--token-file", str(file))
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["calls", person, "requests", "1", "0", "4", "(configured", "1)"] in [row[:8] for row in rows], done.stderr


def test_methods_and_times_that_the_api_does_not_have(administered: Administered) -> None:
    for method in ("PROPFIND", "TRACE"):
        assert administered.api(method, "/admin/budgets", token="no-token").status_code == 401
        refused = administered.api(method, "/admin/budgets")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
        assert refused.json()["request_id"] == refused.headers["request-id"] != ""
    change = {"command": "set", "budget": "person-month", "key": administered.person(), "amount": 5}
    for until in ("9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"):
        refused = administered.api("POST", "/admin/budgets", {**change, "until": until})
        assert refused.status_code == 400 and refused.json()["error"]["message"].startswith("until: "), until


def test_the_audit_says_when_there_is_more(administered: Administered) -> None:
    person = administered.person()
    for amount in (2, 3):
        administered.changes("set", person, amount)
    for shown in (administered.remote("audit", "--limit", "1"), _on_the_machine(administered, "audit", "--limit", "1")):
        assert person in shown and "only the last 1 changes are shown; --limit N shows more" in shown


def _on_the_machine(administered: Administered, *words: str) -> str:
    done = administered.command(*words, "--config", str(administered.stack.folder / "gateway.yaml"))
    return done.stdout + done.stderr


def test_the_command_says_what_is_wrong(administered: Administered) -> None:
    assert "HTTP 400: budget: there is no budget 'six'" in administered.remote("set", "six", "ann", "3")


def test_a_spend_limit_is_a_budget_in_usd(administered: Administered) -> None:
    person = administered.person()
    scope = {"type": "user", "user_id": person}
    made = administered.api("POST", LIMITS, {"scope": scope, "amount": "0", "period": "monthly"})
    assert made.status_code == 200, made.text
    assert administered.calls(person, 1) == [429]
    limit = made.json()
    assert (limit["scope"], limit["amount"], limit["currency"], limit["period"]) == (scope, "0", "USD", "monthly")
    assert administered.api("GET", f"{LIMITS}/{limit['id']}").json() == limit
    assert limit in administered.api("GET", f"{LIMITS}?limit=1000").json()["data"]
    gone = administered.api("DELETE", f"{LIMITS}/{limit['id']}")
    assert gone.json() == {"type": "spend_limit_deleted", "id": limit["id"]}
    assert administered.api("GET", f"{LIMITS}/{limit['id']}").status_code == 404
    assert administered.calls(person, 1) == [200]


def test_what_is_effective_shows_what_each_user_has_spent(administered: Administered) -> None:
    person = administered.person()
    assert administered.calls(person, 1) == [200]

    def rows() -> list[Json]:
        found: list[Json] = administered.api("GET", f"{LIMITS}/effective?period[]=monthly&user_ids[]={person}").json()[
            "data"
        ]
        return found

    [row] = rows()
    assert (row["amount"], row["source"], row["spend_limit_id"]) == ("10000", {"type": "organization"}, None)
    assert row["period_to_date_spend"] == "0.0022", "22 millionths of a dollar"
    assert row["actor"]["user_id"] == person
    body = {"scope": {"type": "user", "user_id": person}, "amount": "700", "period": "monthly"}
    limit = administered.api("POST", LIMITS, body).json()
    [row] = rows()
    assert (row["amount"], row["source"], row["spend_limit_id"]) == ("700", limit["scope"], limit["id"])


def test_every_change_is_in_the_audit_and_in_the_log(administered: Administered) -> None:
    person = administered.person()
    group = {"type": "rbac_group", "rbac_group_id": person}
    administered.changes("set", person, 7)
    assert administered.api("POST", LIMITS, {"scope": group, "amount": "2500"}).status_code == 200
    local = administered.command(
        "grant", "calls", person, "2", "--config", str(administered.stack.folder / "gateway.yaml")
    )
    assert local.stdout == "done\n", local.stderr

    def entries(path: str) -> list[Json]:
        found: list[Json] = administered.api("GET", path).json()["data"]
        return found

    of_person = [one for one in entries("/admin/budgets/audit") if one["key"] == person]
    shown: list[tuple[Any, ...]] = [
        (one["via"], one["action"], one["measure"], one["old"], one["new"]) for one in of_person
    ]
    assert shown == [
        ("command", "grant", "requests", 7, 9),
        ("api", "set", "usd", 500, 25),
        ("api", "set", "requests", 1, 7),
    ]
    assert [one["by"] for one in of_person[1:]] == ["olga", "olga"] and of_person[0]["by"] not in ("", "olga")
    [spend] = [one for one in entries(f"{LIMITS}/audit") if one["scope"] == group]
    assert (spend["old_amount"], spend["new_amount"], spend["actor"]["user_id"]) == ("50000", "2500", "olga")
    line = f"budget calls of '{person}': requests 1 -> 7, changed by hand, by 'olga' (claude-code-lab) with the api"
    administered.stack.err.says(line)
    row = ["olga", "(claude-code-lab)", "api", "set", "team-month", person, "usd", "500", "25"]
    assert row in [shown.split()[1:] for shown in administered.remote("audit").splitlines()]


def test_a_change_survives_a_reload_and_shows_in_check(administered: Administered) -> None:
    person = administered.person()
    administered.changes("set", person, 2)
    path = administered.stack.folder / "gateway.yaml"
    path.write_text(path.read_text().replace("limit: {usd: 500}", "limit: {usd: 400}"))
    administered.stack.err.first(lambda line: line if "configuration 2 is in force" in line else None)
    assert administered.calls(person, 3) == [200, 200, 429]
    argv = [sys.executable, "-m", "extproc", "check", "--config", str(path)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(path.parent), "RAW_URL": "http://127.0.0.1:9"}
    done = subprocess.run(argv, check=True, env=environ, capture_output=True, text=True, timeout=30)
    assert f"budget calls of '{person}': requests 2 instead of 1" in done.stdout


def test_what_does_not_fit_names_the_field(administered: Administered) -> None:
    scope = {"type": "user", "user_id": "ann"}
    wrong: list[tuple[Json, str]] = [
        ({"scope": scope, "amount": "1.5"}, "amount: must be a whole-number decimal string of cents"),
        ({"scope": scope, "amount": None}, "amount: null would mean no limit"),
        ({"scope": scope, "amount": "1", "period": "daily"}, "period: no budget of this scope has this period"),
        ({"scope": {"type": "organization"}, "amount": "1"}, "scope.type: no budget in USD is for this scope"),
        ({"scope": {"type": "user"}, "amount": "1"}, "scope.user_id: expected the id"),
    ]
    for body, problem in wrong:
        answer = administered.api("POST", LIMITS, body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert answer.json()["error"]["message"].startswith(problem)
