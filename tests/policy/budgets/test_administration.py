"""The section `admin`: its rules, and which budget is which spend limit."""

from pathlib import Path

import pytest

from extproc.policy.budgets.administration import Administration, ScopedBudget
from tests.settings import GATEWAY, faults, gateway

BUDGETS = """
budgets:
  - {name: person, key: ' jwt.sub ', limit: {usd: 1}, per: week}
  - {name: caller, key: caller.id, limit: {usd: 1}, per: day}
  - {name: mail, key: jwt.email, limit: {usd: 1}, per: month}
  - {name: all, key: '"every" + "body"', limit: {usd: 1}, per: month}
  - {name: words, key: jwt.sub, limit: {tokens: 1}, per: month}
  - {name: hour, key: jwt.sub, limit: {usd: 1}, per: hour}
  - {name: rolling, key: jwt.sub, limit: {usd: 1}, per: 30d}
"""


def budgets(folder: Path, admin: str) -> list[ScopedBudget]:
    made = gateway(folder, f"{GATEWAY}{BUDGETS}admin: {admin}\n")
    return Administration(made.source, made.rules).budgets


def test_a_budget_has_its_scope_by_its_key(tmp_path: Path) -> None:
    assert budgets(tmp_path, "{}") == [
        ScopedBudget("person", "user", "weekly", None),
        ScopedBudget("caller", "user", "daily", None),
        ScopedBudget("mail", "rbac_group", "monthly", None),
        ScopedBudget("all", "organization", "monthly", "everybody"),
    ]


def test_a_budget_has_its_scope_by_the_configuration(tmp_path: Path) -> None:
    found = budgets(tmp_path, "{scopes: {mail: user, all: rbac_group}}")
    assert [(one.name, one.scope, one.key) for one in found[2:]] == [
        ("mail", "user", None),
        ("all", "rbac_group", None),
    ]


@pytest.mark.parametrize(
    ("admin", "problem"),
    [
        ("{allow: ['jwt.team =']}", "admin.allow.0: not a valid CEL expression"),
        ("{allow: ['model == \"x\"']}", "admin.allow.0: a request to this API has no model and no body"),
        ("{allow: ['llm.stream']}", "admin.allow.0: a request to this API has no model and no body"),
        ("{scopes: {none: user}}", "admin.scopes.none: there is no such budget; there are: person, caller,"),
        ("{scopes: {mail: organization}}", "admin.scopes.mail: its key is no constant"),
        ("{scopes: {mail: workspace}}", "admin.scopes.mail"),
        ("{allowed: []}", "admin.allowed"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, admin: str, problem: str) -> None:
    found = faults(tmp_path, f"{GATEWAY}{BUDGETS}admin: {admin}\n")
    assert len(found) == 1 and problem in found[0], found
