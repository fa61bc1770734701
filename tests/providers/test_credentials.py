import os
from pathlib import Path

import pytest

from extproc.config import schema_values
from extproc.config.faults import Fault
from extproc.config.files import Files
from extproc.providers import credentials
from extproc.providers.providers import Credential
from tests.settings import GATEWAY, faults, source

SECRETS: list[tuple[str, str | None]] = [
    ("sk-1", None),
    (" sk-1\n", None),
    ("", "is not set or empty"),
    (" \n", "is not set or empty"),
    ("a\nb", "holds characters that no header can carry"),
    ("a\x00b", "holds characters that no header can carry"),
    ("schlüssel", "holds characters that no header can carry"),
]


def secret(place: str) -> schema_values.Secret:
    name, _, value = place.partition(": ")
    return schema_values.Secret(env=value) if name == "env" else schema_values.Secret(file=Path(value))


@pytest.mark.parametrize(("value", "problem"), SECRETS)
@pytest.mark.parametrize("place", ["env: K", "file: secrets/key"])
def test_where_a_key_comes_from(tmp_path: Path, value: str, problem: str | None, place: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text(value)
    found: list[Fault] = []
    key = credentials.load(source(tmp_path, GATEWAY), secret(place), ("x",), {"K": value}, found)
    if problem is None:
        assert not found and key is not None and key.reveal() == "sk-1"
    else:
        named = "the environment variable K" if "env" in place else "the file secrets/key"
        assert [(fault.where, fault.problem) for fault in found] == [(("x",), f"{named} {problem}")]


@pytest.mark.parametrize(
    ("place", "says"), [("env: K", "K is not set or empty"), ("file: keys/none", "cannot be read")]
)
def test_a_key_that_is_not_there(tmp_path: Path, place: str, says: str) -> None:
    found: list[Fault] = []
    credentials.load(source(tmp_path, GATEWAY), secret(place), ("x",), {}, found)
    assert [says in fault.problem for fault in found] == [True]


def test_equality_of_credentials_is_identity() -> None:
    assert Credential("a") != Credential("a")


def test_a_key_in_the_place_of_its_file_is_not_quoted(tmp_path: Path) -> None:
    for key in ("sk-proj-0123456789abcdef", "ab/cd0123456789/+=="):
        found: list[Fault] = []
        where = schema_values.Secret(file=Path(key))
        assert credentials.load(source(tmp_path, GATEWAY), where, ("x",), {}, found) is None
        assert [fault.problem for fault in found] == ["the file of that name cannot be read"]


def test_a_key_that_this_user_may_not_read_names_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's user before a file of mode 0600; root, who may run this test, reads all."""

    def refused(files: Files, path: Path) -> bytes:
        if path.name == "openai.key":
            raise PermissionError(13, "Permission denied")
        return path.read_bytes()

    monkeypatch.setattr(Files, "read", refused)
    [fault] = faults(tmp_path, GATEWAY.replace("{env: OPENAI_API_KEY}", "{file: openai.key}"))
    assert f"openai.key cannot be read by user {os.getuid()}, as whom this runs" in fault
    assert "chown" in fault
