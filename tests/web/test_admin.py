"""`/admin/budgets`: what `extproc budget` does, by HTTP."""

from extproc.policy.budgets.limits import account
from extproc.printable import MAX_TIME
from extproc.store.overrides import Change, Override
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
    assert administered.api("GET", f"{PATH}/audit?limit=1").json() == {"data": [first], "has_more": True}
    assert administered.api("GET", f"{PATH}/audit?limit=2").json()["has_more"] is False


def test_all_of_the_audit_that_is_kept_can_be_read(administered: AdministeredSite) -> None:
    name, counters = account("person-month", "requests", "zed"), administered.keeper.counters

    async def many() -> None:
        for number in range(1_100):
            change = Change(number, "olga", "api", "set", name, number, number + 1)
            await counters.override(name, lambda _, change=change: (Override(1), change))  # type: ignore[misc]

    limit = {"scope": {"type": "user", "user_id": "ann"}, "amount": "90000"}
    administered.api("POST", "/v1/organizations/spend_limits", limit)
    administered.api("POST", "/v1/organizations/spend_limits", limit | {"amount": "80000"})
    administered.run(many())
    found = administered.api("GET", f"{PATH}/audit?limit=10000").json()
    assert (len(found["data"]), found["has_more"], found["data"][-1]["key"]) == (1_102, False, "ann")
    assert administered.api("GET", f"{PATH}/audit?limit=10001").status_code == 400
    spend = administered.api("GET", "/v1/organizations/spend_limits/audit?limit=1").json()
    assert ([one["new_amount"] for one in spend["data"]], spend["has_more"]) == (["80000"], True)


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
    ({"amount": None, "until": "2999-01-01T00:00:00Z"}, "until: the configured limit has no end"),
    ({"until": "soon"}, "until: Invalid RFC3339"),
    ({"until": "1970-01-01T00:00:00Z"}, "until: the time is over"),
    ({"until": "1970-01-01T00:00:00.2Z"}, "until: the time is over"),
    ({"until": "1960-01-01T00:00:00Z"}, "until: the time is over"),
    ({"until": "0001-01-01T00:00:00+14:00"}, "until: "),
    ({"until": "2001-01-01T00:00:00Z"}, "until: the time is over"),
    ({"until": "9999-12-31T23:59:59.999Z"}, "until: expected a time before the year 10000"),
    ({"budget": "person-month"}, "measure: budget person-month limits usd, requests: say which in `measure`"),
    ({"command": "grant", "budget": "rolling", "amount": 5}, "until: budget rolling has no period that ends"),
    ({"command": "grant", "amount": None}, "amount: a grant needs an amount"),
]


def test_a_mistake_names_the_field(administered: AdministeredSite) -> None:
    for changes, problem in WRONG:
        answer = administered.api("POST", PATH, {"command": "set", "budget": "team-month", "key": "data"} | changes)
        assert answer.status_code == 400, changes
        assert answer.json()["error"]["message"].startswith(problem), changes
    unknown = administered.api("GET", f"{PATH}?budget=none")
    assert unknown.status_code == 400 and unknown.json()["error"]["message"].startswith("budget: there is no budget")
    for limit in ("0", "-1", "x", "1e9", "99999999999", "\u00b2"):
        assert administered.api("GET", f"{PATH}?limit={limit}").status_code == 400, limit
    assert administered.api("GET", f"{PATH}/audit").json()["data"] == []


def test_times_that_were_kept_without_a_bound_are_shown(administered: AdministeredSite) -> None:
    name, end = account("team-month", "usd", "data"), MAX_TIME + 1
    change = Change(1, "olga", "api", "set", name, 1, 2, end)
    administered.run(administered.keeper.override(name, lambda _: (Override(2, end, [(3, end)], end, end), change)))
    last = "9999-12-31T23:59:59Z"
    [line] = administered.api("GET", PATH).json()["data"]
    assert line["set_until"] == line["grants"][0]["until"] == line["created_at"] == last
    assert administered.api("GET", f"{PATH}/audit").json()["data"][0]["until"] == last
    [limit] = administered.api("GET", "/v1/organizations/spend_limits").json()["data"]
    assert limit["created_at"] == last
