"""Packages that add dialects."""

import sys
from pathlib import Path

import pytest

from extproc.cli import main
from extproc.gateway import plugins


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (folder / "a_dialect.py").write_text(code)
    metadata = folder / "a_dialect-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: a-dialect\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[extproc.dialects]\nmine = a_dialect:add\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "a_dialect", raising=False)


def test_each_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, "calls = []\ndef add(): calls.append(1)")
    plugins.load()
    assert sys.modules["a_dialect"].calls == [1]


@pytest.mark.parametrize(
    "code", ["raise ImportError('no such thing')", "x = 1", "def add(): raise ValueError('in use')"]
)
def test_one_that_cannot_be_used_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    installed(tmp_path, monkeypatch, code)
    with pytest.raises(plugins.Unusable, match="the dialect 'mine' of a_dialect:add cannot be used: "):
        plugins.load()
    assert main.main(["check"]) == 1
    assert "the dialect 'mine'" in capsys.readouterr().err
