"""For all tests."""

import pytest
from hypothesis import HealthCheck, settings

# How fast an example is made or run says something about the machine of the hour, nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

# Files that take a minute and more. They begin first: else the last of them runs on when all others have ended.
SLOW = ("test_reload_under_load", "test_reload_beside", "test_memory", "test_claude_code", "test_codex")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.path.stem, item.path.parent.name))


def _turn(file: str, folder: str) -> int:
    """The longest first, then what runs through Envoy, then the rest."""
    return next((n for n, name in enumerate(SLOW) if file.startswith(name)), len(SLOW) + (folder != "e2e"))
