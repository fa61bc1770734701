"""What differs between models of OpenAI's, chosen by their names."""

import re
from pathlib import Path

import pytest

from extproc.providers import profiles
from extproc.providers.loading import load_catalogue
from tests.providers.test_catalogue import catalogue, text
from tests.settings import source

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
        ("gpt-5.6", ("none", *HIGH, "xhigh"), True),
        ("gpt-5.10", ("none", *HIGH, "xhigh"), True),
        ("gpt-6", ("none", *HIGH, "xhigh"), True),
        ("gpt-6-sol", ("none", *HIGH, "xhigh"), True),
        ("gpt-6-astra", (*HIGH, "xhigh"), False),
        ("gpt-6.1-sol-2026-11-09", (*HIGH, "xhigh"), False),
    ],
)
def test_a_model_of_openais_gets_efforts_that_it_knows(
    tmp_path: Path, model: str, efforts: tuple[str, ...], forced: bool
) -> None:
    found = catalogue(tmp_path, "  - {name: '*', provider: openai}").resolve(model)
    assert found and (found.profile.efforts, found.profile.chat_tools_force_effort_none) == (efforts, forced)


def test_what_the_configuration_says_of_efforts_counts(tmp_path: Path) -> None:
    rules = "  - {name: o3, provider: openai, profile: {efforts: [max]}}\n"
    found = catalogue(tmp_path, rules).resolve("o3")
    assert found and found.profile.efforts == ("max",)


@pytest.mark.parametrize("profile", ["openai-reasoning", "azure", "{base: openai-reasoning, strictness: strict}"])
def test_what_a_name_says_counts_beside_a_profile_of_the_configuration(tmp_path: Path, profile: str) -> None:
    """gpt-5.6 refuses tools beside reasoning whatever profile was chosen for it."""
    rules = "\n".join(
        f"  - {{name: {name}, provider: openai, profile: {profile}}}" for name in ("gpt-5.6", "gpt-6-astra", "gpt-x")
    )
    made = catalogue(tmp_path, rules)
    luna, astra, other = made.resolve("gpt-5.6"), made.resolve("gpt-6-astra"), made.resolve("gpt-x")
    assert luna and astra and other
    assert luna.profile.chat_tools_force_effort_none and luna.profile.responses_efforts == ("max",)
    assert not astra.profile.chat_tools and "none" not in astra.profile.efforts
    base = profiles.shipped()["azure" if profile == "azure" else "openai-reasoning"]
    assert other.profile.efforts == base.efforts and other.profile.chat_tools


def test_a_vendor_that_steers_thinking_in_its_own_way_keeps_it(tmp_path: Path) -> None:
    rules = "  - {name: openai/gpt-5.6, provider: openai, profile: openrouter}"
    found = catalogue(tmp_path, rules).resolve("openai/gpt-5.6")
    assert found and found.profile.efforts == profiles.shipped()["openrouter"].efforts
    assert not found.profile.chat_tools_force_effort_none


def test_a_model_whose_tools_chat_refuses(tmp_path: Path) -> None:
    rules = "  - {name: gpt-6-astra, provider: openai}\n  - {name: gpt-6, provider: openai}"
    both = text(rules).replace("dialects: [chat]", "dialects: [chat, responses]", 1)
    made, _, _ = load_catalogue(source(tmp_path, both), {})
    astra, sol = made.resolve("gpt-6-astra"), made.resolve("gpt-6")
    assert astra and sol and (astra.profile.chat_tools, sol.profile.chat_tools) == (False, True)


def test_the_table_of_models_is_the_table_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    seen = set()
    for line in (line for line in page.splitlines() if line.startswith("| `")):
        names, keys, source_read = line.strip("| ").split(" | ") if " | | " not in line else _without_keys(line)
        for name in re.findall("`([^`]+)`", names):
            row = next(row for row in profiles.models() if row.names.search(name))
            assert set(row.keys) == set(re.findall("`([^`]+)`", keys)), name
            seen.add(row.names.pattern)
        assert re.search(r"2026-\d\d", source_read)
    assert seen == {row.names.pattern for row in profiles.models()}


def _without_keys(line: str) -> list[str]:
    first, last = line.strip("| ").split(" | | ")
    return [first, "", last]


@pytest.mark.parametrize("row", profiles.models(), ids=lambda row: row.names.pattern)
def test_every_row_of_the_table_fits_a_profile(row: profiles.ModelFacts) -> None:
    profiles.with_overrides(profiles.Profile(), row.keys)


@pytest.mark.parametrize(("url", "off"), [("https://api.openai.com/v1", True), ("http://127.0.0.1:1/v1", False)])
def test_openai_itself_is_asked_for_streams_without_padding(tmp_path: Path, url: str, off: bool) -> None:
    rule = "  - {name: gpt-4o, provider: openai}"
    made, _, _ = load_catalogue(source(tmp_path, text(rule).replace("https://api.openai.com/v1", url)), {})
    found = made.resolve("gpt-4o")
    assert found and found.profile.stream_obfuscation_off == off
