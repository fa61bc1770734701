"""`extproc usage`: sums of a ledger, in three forms."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.cli import main
from extproc.usage.calls import Call, call_of
from extproc.usage.opening import open_ledger
from tests.settings import ENVIRON, GATEWAY, source
from tests.usage_lines import LINE

CONFIG = f"{GATEWAY}\nrecords: {{claims: [team]}}\nusage: {{claims: [unit]}}\n"


def call(id: str, when: str, **changes: Any) -> Call:
    time = round(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp() * 1000)
    return msgspec.structs.replace(call_of(LINE, id), time=time, **changes)


CALLS = [
    call("a", "2026-10-31T23:30", claims={"team": "data", "unit": "x"}, cost=1_500_000_000),
    call("b", "2026-11-01T00:00", claims={"team": "data", "unit": "y"}, cost=250_000_000),
    call("c", "2026-11-02T12:00", claims={"team": "it"}, model="qwen", cost=None),
    call("d", "2026-11-02T12:01", claims={"team": "=cmd()"}, model="qwen", cost=1, reason="Truncated"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    ledger = open_ledger(source(tmp_path, CONFIG), ENVIRON)
    ledger.add(CALLS)
    ledger.close()
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main.main(["usage", "--format", "json", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_sums_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [first, *_] = found = asked(capsys, "--by", "team,model")
    assert [(row["team"], row["model"]) for row in found] == [("=cmd()", "qwen"), ("data", "best"), ("it", "qwen")]
    assert first["failed_calls"] == 1
    assert found[1] == {
        "team": "data", "model": "best", "calls": 2, "failed_calls": 0, "unpriced_calls": 0, "estimated_calls": 0,
        "input_tokens": 2000, "output_tokens": 200, "cache_read_tokens": 800, "cache_write_tokens": 0, "cost": 1.75,
    }  # fmt: skip
    assert (found[2]["unpriced_calls"], found[2]["cost"]) == (1, 0.0)


def test_a_time_without_a_zone_is_in_utc_unless_another_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def calls(*words: str) -> int:
        return sum(row["calls"] for row in asked(capsys, *words))

    assert calls() == 4
    assert calls("--since", "2026-11-01") == 3
    assert calls("--since", "2026-11-01", "--timezone", "Europe/Berlin") == 4
    assert calls("--since", "2026-11-01T01:00+01:00") == 3
    assert calls("--since", "2026-11-01", "--until", "2026-11-02T12:01") == 2
    assert calls("--until", "2026-10-01") == 0


def test_sums_by_day_and_month(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_day = [(row["day"], row["calls"]) for row in asked(capsys, "--by", "day")]
    assert by_day == [("2026-10-31", 1), ("2026-11-01", 1), ("2026-11-02", 2)]
    by_day = [(row["day"], row["calls"]) for row in asked(capsys, "--by", "day", "--timezone", "Asia/Kathmandu")]
    assert by_day == [("2026-11-01", 2), ("2026-11-02", 2)]
    by_month = [(row["month"], row["team"], row["cost"]) for row in asked(capsys, "--by", "month,team")]
    assert by_month[:2] == [("2026-10", "data", 1.5), ("2026-11", "=cmd()", 1e-9)]
    assert asked(capsys, "--by", "hour")[0]["hour"] == "2026-10-31T23:00+0000"


def test_claims_of_usage_can_be_summed_up_by(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [(row["unit"], row["calls"]) for row in asked(capsys, "--by", "unit")] == [("", 2), ("x", 1), ("y", 1)]


def test_sums_as_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["usage", "--by", "team", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["team"], row["calls"], row["cost"]) for row in rows] == [
        ("'=cmd()", "1", "0.000000001"), ("data", "2", "1.750000000"), ("it", "1", "0.000000000"),
    ]  # fmt: skip


def test_sums_as_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["usage", "--by", "team", "--since", "2026-10-01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "team"
    assert [line.split()[:2] for line in lines[1:]] == [["=cmd()", "1"], ["data", "2"], ["it", "1"], ["total", "4"]]
    assert lines[2].endswith("1.7500 USD") and "unpriced calls" in lines[0]
    assert "estimated calls" not in lines[0]


def test_a_persons_calls_are_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["usage", "remove", "--sub", "ann"]) == 0
    assert capsys.readouterr().out.startswith("4 calls of 'ann' were removed")
    assert asked(capsys) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "team,nothing"], "calls cannot be summed up by nothing; there are: team, unit, model"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        (["--timezone", "../../etc/passwd"], "no time zone"),
        (["remove"], "name the person with --sub"),
        (["--config", "gone.yaml"], "gone.yaml"),
    ],
)
def test_mistakes_are_said(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main.main(["usage", *words]) == 2
    out, err = capsys.readouterr()
    assert said in err and out == "" and "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GATEWAY, "there is no `usage`, so no ledger"),
        (f"{GATEWAY}\nusage: {{}}\nstore: {{folder: other}}\n", "there is no ledger yet"),
        (f"{GATEWAY}\nusage: {{postgresql: {{url: 'postgresql://u@127.0.0.1:1/d'}}}}\n", "the ledger cannot be used"),
    ],
)
def test_a_ledger_that_is_not_there_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (folder / "gateway.yaml").write_text(text)
    assert main.main(["usage"]) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "other").exists()
