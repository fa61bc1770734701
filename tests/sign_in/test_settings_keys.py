"""Types of managed settings: what Claude Code could not read is a fault, what it may not know is said."""

from datetime import date
from typing import Any

import pytest

from extproc.config.faults import Fault
from extproc.sign_in.settings_keys import KNOWN, Unknown, check

WHERE = ("managed_settings", 0, "settings")


def found(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, one.where[3:])), one.problem) for one in check(settings, WHERE)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "claude-x", "availableModels": ["a"], "enforceAvailableModels": True, "cleanupPeriodDays": 30},
        {"permissions": {"deny": ["WebSearch"], "defaultMode": "plan", "newer": 1}},
        {
            "env": {"A": "1", "B": 131072},
            "hooks": {},
            "autoUpdatesChannel": "stable",
            "statusLine": {"type": "command"},
        },
        {"strictPluginOnlyCustomization": True, "forceLoginOrgUUID": ["a"]},
    ],
)
def test_what_the_client_reads(settings: dict[str, Any]) -> None:
    assert found(settings) == []


@pytest.mark.parametrize(
    ("settings", "where", "problem"),
    [
        ({"model": ["a"]}, "model", "expected a text"),
        ({"availableModels": "a"}, "availableModels", "expected a list of texts"),
        ({"availableModels": [1]}, "availableModels", "expected a list of texts"),
        ({"enforceAvailableModels": "true"}, "enforceAvailableModels", "expected true or false"),
        ({"cleanupPeriodDays": True}, "cleanupPeriodDays", "expected a number"),
        ({"permissions": []}, "permissions", "expected a mapping"),
        ({"permissions": {"deny": "WebSearch"}}, "permissions.deny", "expected a list of texts"),
        ({"permissions": {"disableBypassPermissionsMode": True}}, "permissions.disableBypassPermissionsMode",
         "expected `disable`"),
        ({"allowedMcpServers": {}}, "allowedMcpServers", "expected a list"),
        ({"env": {"A": True}}, "env.A", 'expected a text; put it in quotes, as in "1"'),
        ({"env": {"A": 1.5}}, "env.A", 'expected a text; put it in quotes, as in "1"'),
        ({"viewMode": "big"}, "viewMode", "expected `default` or `verbose` or `focus`"),
        ({"mcpServers": {}}, "mcpServers", "Claude Code does not take it from managed settings; use managedMcpServers"),
        ({"companyAnnouncements": [date(2026, 1, 1)]}, "companyAnnouncements",
         "holds a value that JSON does not have, such as a date; put it in quotes"),
        ({"cleanupPeriodDays": float("nan")}, "cleanupPeriodDays",
         "holds a value that JSON does not have, such as a date; put it in quotes"),
    ],
)  # fmt: skip
def test_what_it_could_not_read(settings: dict[str, Any], where: str, problem: str) -> None:
    assert found(settings) == [(where, problem)]
    assert isinstance(next(iter(check(settings, WHERE))), Fault)


def test_a_key_that_it_may_not_know() -> None:
    [one] = check({"availableModel": ["a"]}, WHERE)
    assert isinstance(one, Unknown) and "did you mean 'availableModels'?" in one.problem


def test_no_key_has_two_types() -> None:
    assert len(KNOWN) > 150 and "model" in KNOWN
