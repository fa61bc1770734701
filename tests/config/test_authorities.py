"""Certificates that a configuration names are read, or the mistake is named."""

import ssl
from pathlib import Path

import pytest

from extproc.config.authorities import load, trusting
from extproc.config.faults import Fault
from tests.certificates import certificate
from tests.settings import GATEWAY, source

WHERE = ("telemetry", "ca_file")


def loaded(folder: Path, name: str | None) -> tuple[str | None, list[str]]:
    faults: list[Fault] = []
    found = load(source(folder, GATEWAY), Path(name) if name is not None else None, WHERE, faults)
    assert all(fault.where == WHERE for fault in faults)
    return found, [fault.problem for fault in faults]


def test_only_what_is_named_is_trusted(tmp_path: Path) -> None:
    certificate(tmp_path, "localhost")
    pem, faults = loaded(tmp_path, "ca.pem")
    assert pem is not None and len(trusting(pem).get_ca_certs()) == 1 and faults == []
    assert loaded(tmp_path, None) == (None, [])


@pytest.mark.parametrize("content", ["", "# no certificate", "\N{SNOWMAN}"])
def test_a_file_without_a_certificate(tmp_path: Path, content: str) -> None:
    """An empty text would mean the system's authorities."""
    (tmp_path / "ca.pem").write_text(content, "utf-8")
    assert loaded(tmp_path, "ca.pem") == (None, ["ca.pem holds no certificates in PEM form"])
    with pytest.raises(ssl.SSLError):
        trusting("")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert loaded(tmp_path, "ca.pem") == (None, ["ca.pem cannot be read: No such file or directory"])
