"""The profile of a Claude model, by its name."""

import pytest

from extproc.profiles import for_claude, shipped

NAMES = {
    "claude-2.1": "claude-extended-unstructured",
    "claude-3-opus-20240229": "claude-extended-unstructured",
    "claude-3-7-sonnet-latest": "claude-extended-unstructured",
    "claude-sonnet-4-20250514": "claude-extended-unstructured",
    "claude-opus-4-1-20250805": "claude-extended-unstructured",
    "claude-sonnet-4-5-20250929": "claude-extended",
    "anthropic.claude-haiku-4-5-20251001-v1:0": "claude-extended",
    "anthropic/claude-sonnet-4.6": "claude-adaptive",
    "claude-sonnet-5": "claude-adaptive",
    "claude-opus-5-5": "claude-adaptive",
    "claude-fable-5-1": "claude-always-thinking",
    "my-alias": "claude-adaptive",
}


@pytest.mark.parametrize("model", NAMES)
def test_by_name(model: str) -> None:
    assert for_claude(model) == NAMES[model] and NAMES[model] in shipped()
