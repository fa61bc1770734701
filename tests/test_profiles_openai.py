"""What differs between models of OpenAI's, chosen by their names."""

from pathlib import Path

import pytest

from extproc import profiles
from extproc.providers import load
from tests.settings import source
from tests.test_providers import catalogue, text

HIGH = ("low", "medium", "high")


@pytest.mark.parametrize(
    ("model", "efforts", "forced"),
    [
        ("gpt-4o", (), False),
        ("gpt-5-chat-latest", (), False),
        ("gpt-5.1-chat-latest", (), False),
        ("o1-mini", (), False),
        ("o3", HIGH, False),
        ("o4-mini-2025-04-16", HIGH, False),
        ("gpt-5", ("minimal", *HIGH), False),
        ("gpt-5-mini", ("minimal", *HIGH), False),
        ("gpt-5-pro", ("high",), False),
        ("gpt-5-codex", HIGH, False),
        ("gpt-5.1-codex-max", (*HIGH, "xhigh"), False),
        ("gpt-5.1", ("none", *HIGH), False),
        ("gpt-5.2", ("none", *HIGH, "xhigh"), False),
        ("gpt-5.4", ("none", *HIGH, "xhigh"), True),
        ("gpt-6", ("none", *HIGH, "xhigh"), True),
    ],
)
def test_a_model_of_openais_gets_efforts_that_it_knows(
    tmp_path: Path, model: str, efforts: tuple[str, ...], forced: bool
) -> None:
    found = catalogue(tmp_path, "  - {name: '*', provider: openai}").resolve(model)
    assert found and (found.profile.efforts, found.profile.chat_tools_force_effort_none) == (efforts, forced)


def test_what_the_configuration_says_of_efforts_counts(tmp_path: Path) -> None:
    rules = "  - {name: o3, provider: openai, profile: {efforts: [max]}}\n"
    rules += "  - {name: o4, provider: openai, profile: openai-reasoning}"
    made = catalogue(tmp_path, rules)
    named, chosen = made.resolve("o3"), made.resolve("o4")
    assert named and chosen and named.profile.efforts == ("max",)
    assert chosen.profile.efforts == profiles.shipped()["openai-reasoning"].efforts


@pytest.mark.parametrize(("url", "off"), [("https://api.openai.com/v1", True), ("http://127.0.0.1:1/v1", False)])
def test_openai_itself_is_asked_for_streams_without_padding(tmp_path: Path, url: str, off: bool) -> None:
    rule = "  - {name: gpt-4o, provider: openai}"
    made, _, _ = load(source(tmp_path, text(rule).replace("https://api.openai.com/v1", url)), {})
    found = made.resolve("gpt-4o")
    assert found and found.profile.stream_obfuscation_off == off
