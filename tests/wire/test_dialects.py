"""Rows of dialects."""

import dataclasses

import pytest

from extproc.wire import dialects

CHAT = dialects.row("chat")


@pytest.mark.parametrize("name", ["", "Toy", "to-y", "1toy", "passthrough"])
def test_what_no_dialect_can_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        dialects.add(dataclasses.replace(CHAT, name=name, path="/toy", prefixes=()))


@pytest.mark.parametrize(
    ("name", "path", "prefixes"),
    [
        ("chat", "/toy", ()),
        ("toy", "/v1/chat/completions", ()),
        ("toy", "/v1/messages/toy", ()),
        ("toy", "/toy", ("/v1/",)),
    ],
)
def test_names_and_paths_are_taken_once(name: str, path: str, prefixes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="in the way of"):
        dialects.add(dataclasses.replace(CHAT, name=name, path=path, prefixes=prefixes))
    assert dialects.names() == ("messages", "chat", "responses")


def test_every_row_is_whole() -> None:
    for row in dialects.rows():
        assert row.turns in row.members and row.example.keys() <= row.members
        assert row.members.issuperset({*row.limits, *row.elsewhere, "model", "stream"})
        assert dialects.at_provider(row.provider_path + row.count_path) == row.name
    assert set(dialects.PREFERENCE) == set(dialects.names())
