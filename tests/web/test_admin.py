"""`/admin/budgets`: what `extproc budget` does, by HTTP."""

from tests.web.administered import AdministeredSite
from tests.web.site import Json

PATH = "/admin/budgets"


def test_what_is_used_is_listed(administered: AdministeredSite) -> None:
    administered.uses("team-month", "data", 431_200_000_000)
    administered.api("POST", PATH, {"command": "set", "budget": "person-day", "key": "ann", "amount": 12.5})
    found = administered.api("GET", PATH).json()
    assert found["has_more"] is False
    ann, data = found["data"]
    assert (data["budget"], data["key"], data["measure"], data["used"], data["limit"], data["set_to"]) == (
        "team-month", "data", "usd", 431.2, 500, None
    )  # fmt: skip
    assert (ann["key"], ann["limit"], ann["configured"], ann["set_to"]) == ("ann", 12.5, 10, 12.5)
    assert data["resets_at"].endswith("-01T00:00:00Z") and ann["updated_at"] and data["updated_at"] is None
    assert [one["key"] for one in administered.api("GET", f"{PATH}?budget=team-month").json()["data"]] == ["data"]
    assert [one["key"] for one in administered.api("GET", f"{PATH}?changed=true").json()["data"]] == ["ann"]
    assert administered.api("GET", f"{PATH}?limit=1").json() == {"data": [ann], "has_more": True}


def test_a_change_is_answered_with_the_limit_as_it_is_now(administered: AdministeredSite) -> None:
    grant = {"command": "grant", "budget": "team-month", "key": "data", "amount": 50, "until": "2999-01-01T00:00:00"}
    [line] = administered.api("POST", PATH, grant).json()["data"]
    assert (line["limit"], line["grants"]) == (550, [{"amount": 50.0, "until": "2999-01-01T00:00:00Z"}])
    reset = administered.api("POST", PATH, {"command": "reset", "budget": "person-month", "key": "ann"})
    assert {one["measure"] for one in reset.json()["data"]} == {"usd", "requests"}
    assert len(administered.commands) == 2, "each is one command, or the second could fail where the first did not"


def test_the_audit_names_the_caller(administered: AdministeredSite) -> None:
    change = {"command": "set", "budget": "team-month", "key": "data", "amount": 650, "until": "2999-01-01T00:00:00Z"}
    administered.api("POST", PATH, change)
    administered.api("POST", PATH, change | {"amount": None, "until": None}, sub="oscar")
    first, second = administered.api("GET", f"{PATH}/audit").json()["data"]
    assert (second["by"], second["issuer"], second["via"]) == ("olga", "lab", "api")
    assert (second["action"], second["budget"], second["key"], second["measure"]) == (
        "set",
        "team-month",
        "data",
        "usd",
    )
    assert (second["old"], second["new"], second["until"]) == (500, 650, "2999-01-01T00:00:00Z")
    assert (first["by"], first["old"], first["new"], first["until"]) == ("oscar", 650, 500, None)
    assert administered.api("GET", f"{PATH}/audit?limit=1").json()["data"] == [first]


def test_nobody_can_sign_with_another_name(administered: AdministeredSite) -> None:
    body = {"command": "reset", "budget": "team-month", "key": "data", "by": "root"}
    refused = administered.api("POST", PATH, body)
    assert refused.status_code == 400 and "by" in refused.json()["error"]["message"]


WRONG: list[tuple[Json, str]] = [
    ({"budget": "none"}, "budget: there is no budget 'none'"),
    ({"command": "drop"}, "command: Invalid enum value"),
    ({"amount": -1}, "amount: expected an amount that is not negative"),
    ({"amount": 1e300}, "amount: expected an amount"),
    ({"amount": "5"}, "amount: Expected `float | null`"),
    ({"key": None}, "key: Expected `str`"),
    ({"until": "soon"}, "until: Invalid RFC3339"),
    ({"until": "2001-01-01T00:00:00Z"}, "until: the time is over"),
    ({"budget": "person-month"}, "measure: budget person-month limits usd, requests: say which in `measure`"),
    ({"command": "grant", "budget": "rolling", "amount": 5}, "until: budget rolling has no period that ends"),
    ({"command": "grant", "amount": None}, "amount: a grant needs an amount"),
]


def test_a_mistake_names_the_field(administered: AdministeredSite) -> None:
    for changes, problem in WRONG:
        answer = administered.api("POST", PATH, {"command": "set", "budget": "team-month", "key": "data"} | changes)
        assert answer.status_code == 400, changes
        assert answer.json()["error"]["message"].startswith(problem), changes
    for limit in ("0", "-1", "x", "1e9", "99999999999", "\u00b2"):
        assert administered.api("GET", f"{PATH}?limit={limit}").status_code == 400, limit
    assert administered.api("GET", f"{PATH}/audit").json()["data"] == []
