"""Which translator serves whom."""

import pytest

from extproc.providers.profiles import Profile
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.job import dialect_for
from extproc.wire import Dialect, dialects

TOOLS = {"tools": [{"type": "function"}]}
CALLED = {"messages": [{"role": "user"}, {"role": "assistant", "tool_calls": [{}]}]}


def test_every_client_can_be_served_by_every_provider() -> None:
    assert len({id(pair) for pair in PAIRS.values()}) == len(dialects.names()) ** 2 == len(PAIRS) == 9


@pytest.mark.parametrize(
    ("client", "spoken", "expected"),
    [
        ("messages", ("chat",), "chat"),
        ("messages", ("chat", "messages"), "messages"),
        ("chat", ("responses", "messages"), "responses"),
        ("chat", ("responses",), "responses"),
        ("responses", ("chat", "messages"), "chat"),
    ],
)
def test_the_clients_own_dialect_before_the_preferred(
    client: Dialect, spoken: tuple[Dialect, ...], expected: Dialect
) -> None:
    assert dialect_for(client, spoken, Profile(), TOOLS) == expected


@pytest.mark.parametrize(
    ("client", "spoken", "sent", "expected"),
    [
        ("chat", ("responses", "chat"), {}, "chat"),
        ("chat", ("responses", "chat"), {"tools": []}, "chat"),
        ("chat", ("responses", "chat"), TOOLS, "responses"),
        ("chat", ("responses", "chat"), {"functions": [{}]}, "responses"),
        ("chat", ("responses", "chat"), CALLED, "responses"),
        ("chat", ("chat",), TOOLS, "chat"),
        ("messages", ("chat", "responses"), {}, "chat"),
        ("messages", ("chat", "responses"), TOOLS, "responses"),
        ("chat", ("chat", "messages", "responses"), TOOLS, "messages"),
    ],
)
def test_a_model_that_takes_no_tools_on_chat(
    client: Dialect, spoken: tuple[Dialect, ...], sent: dict[str, object], expected: Dialect
) -> None:
    assert dialect_for(client, spoken, Profile(chat_tools=False), sent) == expected


@pytest.mark.parametrize(
    ("client", "more", "expected"),
    [
        ("chat", {}, "responses"),
        ("chat", {"reasoning_effort": "high"}, "responses"),
        ("chat", {"reasoning_effort": "none"}, "chat"),
        ("messages", {}, "chat"),
    ],
)
def test_a_model_that_takes_no_tools_on_chat_while_it_reasons(
    client: Dialect, more: dict[str, object], expected: Dialect
) -> None:
    """A client's own body passes as it is; a translated one gets the effort that the model takes."""
    profile = Profile(chat_tools_force_effort_none=True)
    assert dialect_for(client, ("chat", "responses"), profile, TOOLS | more) == expected
    assert dialect_for(client, ("chat", "responses"), profile, more) == "chat"
