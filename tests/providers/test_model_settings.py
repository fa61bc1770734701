import pytest

from extproc.providers.model_settings import ModelSettings

LIMITS = {
    "messages": ("max_tokens",),
    "chat": ("max_completion_tokens", "max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
}


@pytest.mark.parametrize(
    ("dialect", "sent", "defaults", "overrides"),
    [
        ("messages", [], ["max_tokens"], ["max_tokens"]),
        ("messages", ["max_tokens"], [], ["max_tokens"]),
        ("chat", [], ["max_completion_tokens"], ["max_completion_tokens"]),
        ("chat", ["max_tokens"], [], ["max_tokens"]),
        ("chat", ["max_completion_tokens", "max_tokens"], [], ["max_completion_tokens", "max_tokens"]),
        ("responses", [], ["max_output_tokens"], ["max_output_tokens"]),
        ("responses", ["max_output_tokens"], [], ["max_output_tokens"]),
    ],
)
def test_a_limit_of_the_configuration_is_spelled_as_the_client_spells_it(
    dialect: str, sent: list[str], defaults: list[str], overrides: list[str]
) -> None:
    configured, body = {"max_tokens": 5, "top_p": 0.5}, dict.fromkeys(sent, 9)
    for settings, expected in (
        (ModelSettings(defaults=configured, limits=LIMITS[dialect]), defaults),
        (ModelSettings(overrides=configured, limits=LIMITS[dialect]), overrides),
    ):
        assert settings.for_body(body) == dict.fromkeys(expected, 5) | {"top_p": 0.5}


def test_a_member_the_configuration_names_in_the_clients_dialect_wins() -> None:
    settings = ModelSettings(overrides={"max_tokens": 5, "max_output_tokens": 6}, limits=("max_output_tokens",))
    assert settings.for_body({}) == {"max_output_tokens": 6}


def test_a_default_is_only_for_who_named_none() -> None:
    settings = ModelSettings(defaults={"top_p": 0.5})
    assert (settings.for_body({"top_p": 1}), settings.for_body({})) == ({}, {"top_p": 0.5})
