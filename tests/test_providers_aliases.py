"""Further names of a model: they resolve to it, and `GET /v1/models` lists them."""

from pathlib import Path

import pytest

from tests.settings import faults
from tests.test_providers import catalogue, text

ALIASES = """
  - {name: "claude-*", provider: openai, model: gpt-4o, aliases: [claude-sonnet-5, sonnet]}
  - {name: gpt-4o, provider: openai, aliases: [fast]}
  - {name: "gpt-*", provider: openai, aliases: [gpt-5]}
"""


@pytest.mark.parametrize(
    ("name", "upstream"),
    [("claude-sonnet-5", "gpt-4o"), ("sonnet", "gpt-4o"), ("fast", "gpt-4o"), ("gpt-5", "gpt-5"), ("slow", None)],
)
def test_an_alias_is_a_name_of_its_model(tmp_path: Path, name: str, upstream: str | None) -> None:
    found = catalogue(tmp_path, ALIASES).resolve(name)
    assert (found.upstream if found else None) == upstream
    assert found is None or found.name == name


def test_aliases_are_listed(tmp_path: Path) -> None:
    assert catalogue(tmp_path, ALIASES).names() == ["claude-sonnet-5", "sonnet", "gpt-4o", "fast", "gpt-5"]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("  - {name: 'a*', provider: openai, aliases: [b]}", "5: models.0.aliases.0: 'b' does not fit 'a*'"),
        ("  - {name: a, provider: openai, aliases: ['b*']}", "5: models.0.aliases.0: "),
        (
            "  - {name: 'a*', provider: openai}\n  - {name: b, provider: openai, aliases: [ab]}",
            "6: models.1.aliases.0: never reached: 'a*' (models.0) matches first",
        ),
        (
            "  - {name: a, provider: openai, aliases: [b]}\n  - {name: b, provider: openai}",
            "6: models.1.name: never reached: 'a' (models.0) matches first",
        ),
    ],
)
def test_aliases_that_can_not_be(tmp_path: Path, models: str, expected: str) -> None:
    [fault] = faults(tmp_path, text(models))
    assert fault.startswith(expected)
