"""A mistake in `budgets` names its place and what was expected."""

from pathlib import Path

import pytest

from tests.settings import GATEWAY, faults, gateway

FINE = {"name": "b", "key": "jwt.sub", "limit": "{usd: 5}", "per": "month"}


def text(**changes: str | None) -> str:
    """`gateway.yaml` with one budget; None: without the key."""
    members = {name: value for name, value in {**FINE, **changes}.items() if value is not None}
    return GATEWAY + "budgets:\n  - {" + ", ".join(f"{name}: {value}" for name, value in members.items()) + "}\n"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"limit": "{usd: -1}"}, "budgets.0.limit.usd"),
        ({"limit": "{usd: 0}"}, "budgets.0.limit.usd"),
        ({"limit": "{usd: .inf}"}, "budgets.0.limit.usd"),
        ({"limit": "{usd: 1.0e+12}"}, "budgets.0.limit.usd"),
        ({"limit": "{usd: .nan}"}, "budgets.0.limit.usd"),
        ({"limit": "{requests: -5}"}, "budgets.0.limit.requests"),
        ({"limit": "{concurrent: 99999999999}", "per": None}, "budgets.0.limit.concurrent"),
        ({"key": "5"}, "budgets.0.key"),
        ({"key": "[jwt.sub]"}, "budgets.0.key"),
        ({"key": "null"}, "budgets.0.key"),
        ({"time_zone": "''"}, "knows no such time zone"),
        ({"time_zone": "Europe"}, "knows no such time zone"),
        ({"limit": "{requests: 1.5}"}, "budgets.0.limit.requests"),
        ({"limit": "{tokens: 9999999999999}"}, "budgets.0.limit.tokens"),
        ({"limit": "{euro: 5}"}, "budgets.0.limit.euro"),
        ({"limit": "{}"}, "limit names nothing"),
        ({"per": None}, "`per` is missing"),
        ({"per": "year"}, "expected one of minute, hour, day, week, month"),
        ({"per": "500d"}, "400d at most"),
        ({"limit": "{concurrent: 3}"}, "it has no `per`"),
        ({"time_zone": "Mars/Olympus"}, "knows no such time zone"),
        ({"time_zone": "../../etc/passwd"}, "knows no such time zone"),
        ({"key": "'1 + 1'"}, "budgets.0.key: the expression gives INT, expected string"),
        ({"key": "jwt.sub =="}, "budgets.0.key: not a valid CEL expression"),
        ({"key": "'modle'"}, "budgets.0.key"),
        ({"when": "jwt.sub"}, None),
        ({"when": "model"}, "budgets.0.when: the expression gives STRING, expected bool"),
        ({"warn_at": "80"}, "budgets.0.warn_at"),
        ({"name": "'with blank'"}, "budgets.0.name"),
        ({"exceeded": "ignore"}, "budgets.0.exceeded: expected reject, observe, or {model: NAME}"),
        ({"exceeded": "7"}, "budgets.0.exceeded: expected reject, observe, or {model: NAME}"),
        ({"exceeded": "{}"}, "budgets.0.exceeded.model: this key is required"),
        ({"exceeded": "{model: claude-x, modle: y}"}, "budgets.0.exceeded.modle: unknown key"),
        ({"exceeded": '{model: "a\\nb"}'}, "budgets.0.exceeded.model"),
        ({"exceeded": "{model: claude-x}"}, None),
        ({"exceeded": "{model: nobodys}"}, "budgets.0.exceeded.model: no model is named 'nobodys'"),
    ],
)
def test_a_mistake(tmp_path: Path, changes: dict[str, str], problem: str | None) -> None:
    if problem is None:
        gateway(tmp_path, text(**changes))
        return
    assert problem in "\n".join(faults(tmp_path, text(**changes)))


def test_two_budgets_of_one_name(tmp_path: Path) -> None:
    twice = text() + "  - {name: b, key: jwt.team, limit: {requests: 1}, per: day}\n"
    assert "two budgets are named 'b'" in "\n".join(faults(tmp_path, twice))


@pytest.mark.parametrize("per", ["minute", "hour", "day", "week", "month", "1m", "90m", "12h", "30d", "400d"])
def test_a_period(tmp_path: Path, per: str) -> None:
    gateway(tmp_path, text(per=per))
