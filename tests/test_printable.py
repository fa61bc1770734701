"""What a terminal acts on is shown, not sent; and every command keeps to that."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from extproc.cli import main
from extproc.printable import MAX_TIME, log_to_stderr, printable, printable_json, printable_lines, printable_time
from tests.issuing import claims, token
from tests.settings import ENVIRON, GATEWAY

ODD = "\x1b[2J\x9b31m\u202eevil\u2066\u2028\u2029\x07\x7f\r"


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def test_a_line_and_lines() -> None:
    assert printable(f"a{ODD}\nb \u00e4") == "a?[2J?31m?evil??????" + "?b \u00e4"
    assert printable_lines("a\x1b\nb\r\nc") == "a?\nb?\nc"


def test_any_number_is_a_time() -> None:
    assert printable_time(1_796_083_200) == "2026-12-01T00:00:00Z"
    assert printable_time(1_796_083_200, "%Y-%m-%d") == "2026-12-01"
    assert printable_time(MAX_TIME) == printable_time(MAX_TIME + 1) == printable_time(10**30) == "9999-12-31T23:59:59Z"
    assert printable_time(-(10**30)) == "1970-01-01T00:00:00Z"


def test_json_stays_what_it_is() -> None:
    value = {"\U000e0001" + ODD: ["\u00e4", "\U0001f600", "\ufeff", {"x": 'a"\\'}]}
    for text in (json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, indent=2)):
        assert harmless(printable_json(text)) and json.loads(printable_json(text)) == value
    assert printable_json('"\u00e4"') == '"\u00e4"'


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main.main(list(words))
    out, err = capsys.readouterr()
    assert out + err
    return out + err


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--model", "claude-x", "--path", f"/v1/{ODD}"],
        ["check", "--model", f"claude-{ODD}"],
        ["check", "--body", "odd.json"],
        ["check", "--config", f"{ODD}.yaml"],
        ["check", "--header", ODD],
    ],
)
def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "odd.json").write_text(json.dumps({"model": ODD, "messages": ODD}))
    odd = token(claims(sub=f"a\nallowed {ODD}", **{f"n{ODD}\n": ODD}))
    said = run(capsys, *words, "--token", odd)
    assert harmless(said) and "\nallowed ?" not in said


def test_the_contents_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    odd = json.dumps(ODD)
    (tmp_path / "gateway.yaml").write_text(f"{GATEWAY}\n{odd}: 1\nroutes: [{{path: {odd}, serve: {odd}}}]\n")
    assert harmless(run(capsys, "check"))


@pytest.mark.parametrize("what", ["request", "answer"])
def test_translate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    asked = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": ODD}], ODD: 1}
    answered = {"id": ODD, "choices": [{"message": {"content": ODD}, "finish_reason": "stop"}], "usage": {}}
    given = {"request": asked, "answer": answered}[what]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(given).encode())))
    assert main.main(["translate", what, "--model", "claude-x"]) == 0
    out, err = capsys.readouterr()
    assert harmless(out + err)
    shown = json.loads(out)
    assert ODD in (shown["messages"][0]["content"] if what == "request" else shown["content"][0]["text"])


def test_what_is_logged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_to_stderr()
    logging.getLogger("extproc").error("a file says %s", ODD)
    said = capsys.readouterr().err
    assert said.startswith("ERROR a file says ?") and harmless(said)
