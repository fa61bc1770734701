"""Two implementations of CEL give every rule of tests, examples and documentation the same verdict."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.policy.authorization.cel import Rule
from extproc.policy.authorization.variables import activation, compile_rule
from tests.e2e import providers, stack, test_authorization
from tests.policy.authorization import test_rules_refusals
from tests.policy.authorization.second_opinion import DIFFERENCES, verdict
from tests.policy.authorization.test_cel import VALUES, VERDICTS

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    test_rules_refusals.CONFIG,
    test_authorization.CONFIG,
    providers.SPECIAL,
    stack.GATEWAY,
    (ROOT / "gateway.yaml").read_text(),
    *(path.read_text() for path in sorted((ROOT / "examples").glob("*.yaml"))),
    *re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "authorization.md").read_text(), re.DOTALL),
]
Json = dict[str, Any]


def rules(config: Any) -> Iterator[str]:
    """Of `allow`, `deny` and `require`, wherever they stand."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if key in ("allow", "deny", "require"):
            yield from [value] if isinstance(value, str) else value
        elif isinstance(value, dict | list):
            yield from rules(value)


RULES = sorted({rule for text in TEXTS for rule in rules(yaml.safe_load(text))})

# What compares values of two types differs everywhere, see DIFFERENCES.
CLAIMS: list[Json] = [
    VALUES["jwt"],
    {},
    {"org": "acme", "team": "data-platform", "llms": {"openai": ["gpt-4o-mini"], "local": ["gpt-4o"]}, "office": "::1"},
    {"org": "acme", "team": "marketing", "llms": ["gpt-4o"], "yes": True, "no": False, "office": "10.1.2.3"},
    {"org": "other", "team": "research", "llms": {"openai": []}, "yes": 1, "no": None, "groups": ["engineers"]},
]
REQUESTS: list[Json] = [
    {},
    {"llm.stream": False, "llm.has_images": True, "llm.tools": [], "llm.messages": 1, "llm.max_tokens": 40_000},
    {"model": "gpt-5", "upstream_model": "either", "request.path": "/there", "request.method": "GET"},
]
UNKNOWN = [{}, {"llm.stream", "llm.max_tokens", "llm.tools"}, {"model", "source.address"}]


def differs(text: str, values: Json) -> str | None:
    compiled = compile_rule(text, ())
    assert isinstance(compiled, Rule), compiled.problem
    ours, theirs = compiled.evaluate(activation(values)), verdict(text, values)
    return None if ours is theirs else f"{ours} here, {theirs} there"


@pytest.mark.parametrize("text", [text for text, _ in VERDICTS])
def test_of_every_expression(text: str) -> None:
    assert (differs(text, VALUES) is not None) is (text in DIFFERENCES)


@pytest.mark.parametrize("text", RULES)
def test_of_every_rule_whatever_is_known(text: str) -> None:
    for claims in CLAIMS:
        for request in REQUESTS:
            for unknown in UNKNOWN:
                whole = VALUES | {"jwt": claims} | request
                values = {name: value for name, value in whole.items() if name not in unknown}
                assert differs(text, values) is None, (claims, request, unknown)


def test_there_are_rules_to_look_at() -> None:
    assert {"model in jwt.llms.openai", "llm.has_images", 'jwt.org == "acme" && jwt.team == "data-platform"'} <= set(
        RULES
    )
    assert set(DIFFERENCES) <= {text for text, _ in VERDICTS}
