"""The profile of a Claude model, by its name."""

from pathlib import Path

import pytest

from extproc.providers.loading import load_catalogue
from extproc.providers.profiles import for_claude, of_model, shipped
from tests.providers.test_catalogue import text
from tests.settings import source

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


@pytest.mark.parametrize(
    ("model", "forced", "binding", "system"),
    [
        ("claude-fable-5-2", False, "drop_block", "native"),
        ("claude-fable-5.1-20260831", False, "drop_block", "native"),
        ("anthropic/claude-mythos-5.1", False, "drop_block", "native"),
        ("claude-mythos-6", False, "drop_block", "native"),
        ("claude-fable-5", True, "default", "native"),
        ("claude-fable-5-20260601", True, "default", "native"),
        ("us.anthropic.claude-opus-5-5-v1:0", True, "drop_block", "native"),
        ("claude-sonnet-5-5", True, "drop_block", "native"),
        ("claude-opus-5", True, "default", "native"),
        ("claude-opus-4-8", True, "default", "native"),
        ("claude-sonnet-5", True, "default", "hoist"),
        ("claude-opus-4-7", True, "default", "hoist"),
        ("my-alias", True, "default", "hoist"),
    ],
)
@pytest.mark.parametrize("profile", [None, "claude-adaptive"])
def test_what_a_name_says_counts_whichever_profile(
    tmp_path: Path, model: str, forced: bool, binding: str, system: str, profile: str | None
) -> None:
    chosen = f", profile: {profile}" if profile else ""
    configuration = text(f"  - {{name: '*', provider: openai{chosen}}}").replace("[chat]", "[messages]", 1)
    made, _, _ = load_catalogue(source(tmp_path, configuration), {})
    found = made.resolve(model)
    assert found and found.dialects == ("messages",)
    keys = found.profile.forced_tool_choice, found.profile.block_binding, found.profile.mid_system
    assert keys == (forced, binding, system)
    assert found.profile.thinking_always_on is ("fable" in model or "mythos" in model)


def test_a_generation_that_is_not_out_yet_is_taken_to_be_like_the_newest() -> None:
    assert of_model("claude-fable-7", shipped()["claude-adaptive"])["forced_tool_choice"] is False
