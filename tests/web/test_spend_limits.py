"""`/v1/organizations/spend_limits`: budgets in the shapes of Anthropic's API."""

from pathlib import Path
from typing import Any

from tests.web.administered import CONFIG, AdministeredSite
from tests.web.site import Json

PATH = "/v1/organizations/spend_limits"
USER = {"type": "user", "user_id": "ann"}


def made(site: AdministeredSite, scope: Json = USER, amount: Any = "50000", **more: Any) -> Json:
    answer = site.api("POST", PATH, {"scope": scope, "amount": amount, **more})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_a_limit_of_each_scope_sets_its_budget(administered: AdministeredSite) -> None:
    group, all_of_them = {"type": "rbac_group", "rbac_group_id": "data"}, {"type": "organization"}
    limit = made(administered)
    assert limit.keys() == {
        "type", "id", "created_at", "updated_at", "scope", "amount", "currency", "period", "is_enabled"
    }  # fmt: skip
    assert (limit["type"], limit["scope"], limit["amount"], limit["period"]) == (
        "spend_limit", USER, "50000", "monthly"
    )  # fmt: skip
    assert made(administered, amount="99", period="daily")["period"] == "daily"
    assert made(administered, group)["scope"] == group
    assert made(administered, all_of_them)["scope"] == all_of_them
    lines = administered.api("GET", "/admin/budgets").json()["data"]
    assert {(one["budget"], one["key"], one["limit"]) for one in lines} == {
        ("person-month", "ann", 500),
        ("person-day", "ann", 0.99),
        ("team-month", "data", 500),
        ("everybody", "all", 500),
    }


def test_a_limit_is_found_changed_and_deleted_by_its_id(administered: AdministeredSite) -> None:
    limit = made(administered)
    place = f"{PATH}/{limit['id']}"
    assert administered.api("GET", place).json() == limit
    assert made(administered, amount="7")["id"] == limit["id"], "a limit that is there is replaced"
    assert administered.api("GET", place).json()["amount"] == "7"
    assert administered.api("DELETE", place).json() == {"type": "spend_limit_deleted", "id": limit["id"]}
    assert administered.api("GET", place).status_code == administered.api("DELETE", place).status_code == 404
    assert administered.api("GET", place).json()["error"]["type"] == "not_found_error"


def test_limits_are_listed_in_pages(administered: AdministeredSite) -> None:
    wanted = {made(administered, {"type": "user", "user_id": f"u{n}"})["id"] for n in range(5)}
    administered.uses("person-month", "nobody", 5)
    seen: list[str] = []
    page: str | None = ""
    for length, more in ((2, True), (2, True), (1, False)):
        found = administered.api("GET", f"{PATH}?limit=2&page={page}" if page else f"{PATH}?limit=2").json()
        ids = [one["id"] for one in found["data"]]
        assert (len(ids), found["has_more"], found["first_id"], found["last_id"]) == (length, more, ids[0], ids[-1])
        seen += ids
        page = found["next_page"]
    assert set(seen) == wanted and len(seen) == 5 and page is None
    assert administered.api("GET", f"{PATH}?after_id=spl_gone").status_code == 400


def test_what_was_granted_or_has_no_place_here_is_no_spend_limit(administered: AdministeredSite) -> None:
    for budget, measure in (("rolling", "usd"), ("person-month", "requests")):
        body = {"command": "set", "budget": budget, "key": "x", "amount": 5, "measure": measure}
        assert administered.api("POST", "/admin/budgets", body).status_code == 200
    grant = {"command": "grant", "budget": "team-month", "key": "x", "amount": 5}
    assert administered.api("POST", "/admin/budgets", grant).status_code == 200
    assert administered.api("GET", PATH).json()["data"] == []
    assert [one["action"] for one in administered.api("GET", f"{PATH}/audit").json()["data"]] == ["grant"]


def test_what_each_user_has_left(administered: AdministeredSite) -> None:
    administered.uses("person-month", "ben", 1_210_000)
    administered.uses("team-month", "data", 7)
    limit = made(administered)
    ann, ben = administered.api("GET", f"{PATH}/effective").json()["data"]
    assert ben == {
        "scope": {"type": "user", "user_id": "ben"},
        "groups": [],
        "actor": {"type": "user_actor", "user_id": "ben", "name": None, "email_address": None, "deleted": False},
        "amount": "10000",
        "currency": "USD",
        "period": "monthly",
        "source": {"type": "organization"},
        "spend_limit_id": None,
        "period_to_date_spend": "0.121",
    }
    assert (ann["amount"], ann["source"], ann["spend_limit_id"]) == ("50000", USER, limit["id"])
    assert ann["period_to_date_spend"] == "0"


def test_users_are_in_pages_with_all_their_periods(administered: AdministeredSite) -> None:
    for name in ("a", "b", "c"):
        administered.uses("person-month", name, 5)
        administered.uses("person-day", name, 5)

    def rows(query: str) -> tuple[list[tuple[str, str]], str | None]:
        found = administered.api("GET", f"{PATH}/effective?{query}").json()
        return [(one["actor"]["user_id"], one["period"]) for one in found["data"]], found["next_page"]

    assert rows("limit=2") == ([("a", "daily"), ("a", "monthly"), ("b", "daily"), ("b", "monthly")], "b")
    assert rows("limit=2&page=b") == ([("c", "daily"), ("c", "monthly")], None)
    assert rows("period[]=daily&user_ids[]=b") == ([("b", "daily")], None)
    assert administered.api("GET", f"{PATH}/effective?period[]=hourly").status_code == 400


def test_the_audit_has_changes_of_spend_limits(administered: AdministeredSite) -> None:
    made(administered)
    [entry] = administered.api("GET", f"{PATH}/audit?limit=5").json()["data"]
    assert (entry["action"], entry["scope"], entry["old_amount"], entry["new_amount"]) == (
        "set",
        USER,
        "10000",
        "50000",
    )
    assert entry["actor"] == {"type": "user_actor", "user_id": "olga", "issuer": "lab", "via": "api"}


WRONG: list[tuple[Json, str]] = [
    ({"amount": 500}, "amount: must be a whole-number decimal string of cents"),
    ({"amount": "5.00"}, "amount: must be a whole-number decimal string of cents"),
    ({"amount": "-5"}, "amount: must be a whole-number decimal string of cents"),
    ({"amount": "\u0661"}, "amount: must be a whole-number decimal string of cents"),
    ({"amount": "9" * 30}, "amount: must be a whole-number decimal string of cents"),
    ({"amount": None}, "amount: null would mean no limit"),
    ({"period": "hourly"}, "period: Invalid enum value"),
    ({"period": "weekly"}, "period: no budget of this scope has this period; budgets are: daily, monthly"),
    ({"scope": {"type": "workspace"}}, "scope.type: no budget in USD is for this scope"),
    ({"scope": {"type": "seat_tier", "seat_tier": "x"}}, "scope: Object contains unknown field `seat_tier`"),
    ({"scope": {"type": "user"}}, "scope.user_id: expected the id"),
    ({"scope": {"type": "user", "user_id": ""}}, "scope.user_id: expected the id"),
    ({"scope": {"type": "organization", "user_id": "a"}}, "scope.user_id: has no place"),
    ({"scope": {"type": "user", "user_id": "a", "rbac_group_id": "b"}}, "scope.rbac_group_id: has no place"),
    ({"currency": "EUR"}, "Object contains unknown field `currency`"),
]


def test_what_a_budget_cannot_be_told_names_the_field(administered: AdministeredSite) -> None:
    for changes, problem in WRONG:
        answer = administered.api("POST", PATH, {"scope": USER, "amount": "1"} | changes)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (400, "invalid_request_error"), changes
        assert error["message"].startswith(problem), changes
    assert administered.api("GET", PATH).json()["data"] == []


def test_several_budgets_of_one_scope_are_no_spend_limit(tmp_path: Path) -> None:
    with AdministeredSite(
        tmp_path, CONFIG.replace("name: rolling", "name: again").replace("per: 7d", "per: month")
    ) as site:
        answer = site.api("POST", PATH, {"scope": {"type": "rbac_group", "rbac_group_id": "x"}, "amount": "1"})
    assert answer.status_code == 400
    assert "scope.type: several budgets are for this scope and period: team-month, again" in answer.text
