"""In which of its dialects a provider is asked about a model."""

from pathlib import Path

import pytest

from extproc.providers.loading import load_catalogue
from tests.providers.test_catalogue import text
from tests.settings import source


@pytest.mark.parametrize(
    ("listed", "profile", "spoken", "named"),
    [
        ("responses", "", ("responses",), "openai-responses"),
        ("chat, responses", "", ("responses", "chat"), "openai-responses"),
        ("chat, messages", "", ("messages", "chat"), "claude-adaptive"),
        ("messages, responses", "", ("responses", "messages"), "openai-responses"),
        ("chat, messages, responses", "", ("responses", "messages", "chat"), "openai-responses"),
        ("chat, responses", "openai-responses", ("responses", "chat"), "openai-responses"),
        ("chat", "openai-responses", ("responses", "chat"), "openai-responses"),
        ("responses", "{base: vllm}", ("responses",), "vllm"),
        ("chat, responses", "{dialect: chat}", ("chat", "responses"), "openai-responses"),
        ("chat", "{chat_tools: false}", ("chat",), "openai-reasoning"),
    ],
)
def test_what_is_spoken_about_a_model(
    tmp_path: Path, listed: str, profile: str, spoken: tuple[str, ...], named: str
) -> None:
    rule = f"  - {{name: gpt-5, provider: openai{', profile: ' + profile if profile else ''}}}"
    made, _, found = load_catalogue(source(tmp_path, text(rule).replace("[chat]", f"[{listed}]")), {})
    resolved = made.resolve("gpt-5")
    assert resolved and not found
    assert (resolved.dialects, resolved.profile.name) == (spoken, named)


@pytest.mark.parametrize(
    ("of_provider", "of_model", "spoken"),
    [
        ("", "", ("responses", "messages", "chat")),
        ("[chat]", "", ("chat", "responses", "messages")),
        ("[chat]", "[messages]", ("messages", "responses", "chat")),
        ("[chat, messages]", "", ("chat", "messages", "responses")),
        ("", "[chat, messages, responses]", ("chat", "messages", "responses")),
    ],
)
def test_which_dialect_is_preferred(tmp_path: Path, of_provider: str, of_model: str, spoken: tuple[str, ...]) -> None:
    rule = f"  - {{name: gpt-5, provider: openai{', prefer: ' + of_model if of_model else ''}}}"
    own = f", prefer: {of_provider}" if of_provider else ""
    configured = text(rule).replace("[chat]", f"[messages, chat, responses]{own}")
    made, _, found = load_catalogue(source(tmp_path, configured), {})
    resolved = made.resolve("gpt-5")
    assert resolved and not found
    assert resolved.dialects == spoken


@pytest.mark.parametrize(
    ("client", "prefer", "named"),
    [
        (None, "", "openai-responses"),
        ("messages", "", "openai-responses"),
        ("responses", "", "openai-responses"),
        ("chat", "", "openai-reasoning"),
        ("messages", ", prefer: [chat]", "openai-reasoning"),
    ],
)
def test_the_profile_suits_the_dialect_that_is_spoken(
    tmp_path: Path, client: str | None, prefer: str, named: str
) -> None:
    raw = text("  - {name: gpt-5, provider: openai}").replace("[chat]", f"[chat, responses]{prefer}")
    made, _, _ = load_catalogue(source(tmp_path, raw), {})
    resolved = made.resolve("gpt-5", dialect=client)
    assert resolved and resolved.profile.name == named


def test_what_is_preferred_must_be_spoken(tmp_path: Path) -> None:
    rule = "  - {name: gpt-5, provider: openai, prefer: [messages, chat, responses]}"
    raw = text(rule).replace("[chat]", "[chat, responses], prefer: [chat, messages]")
    _, _, found = load_catalogue(source(tmp_path, raw), {})
    problem = "the provider does not speak 'messages'; its dialects: chat, responses"
    assert [(fault.where, fault.problem) for fault in found] == [
        (("providers", "openai", "prefer", 1), problem),
        (("models", 0, "prefer", 0), problem),
    ]


def test_a_profile_names_a_dialect_that_there_is(tmp_path: Path) -> None:
    rule = "  - {name: gpt-5, provider: openai, profile: {dialect: smtp}}"
    _, _, found = load_catalogue(source(tmp_path, text(rule)), {})
    problem = "no dialect is named 'smtp'; there are: messages, chat, responses"
    assert [(fault.where, fault.problem) for fault in found] == [(("models", 0, "profile"), problem)]
