"""What pages read from the ledger, in SQLite and in PostgreSQL; they can neither change it nor hold it up."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from extproc.config.loading import Source
from extproc.usage import opening, reading
from extproc.usage.calls import Call, call_of
from extproc.usage.ledger import LedgerDown
from extproc.usage.opening import FILE, open_engine, open_ledger
from extproc.usage.reading import OTHER, Reader, Scope, TooSlow
from tests.postgresql_server import PASSWORD, PostgreSqlServer, postgresql_server
from tests.settings import ENVIRON, GATEWAY, source
from tests.usage_lines import LINE

KINDS = ("sqlite", "postgresql")
SECRETS = {**ENVIRON, "PG": PASSWORD}
HOUR = 3_600_000
NOW = 1_800_000 * 1_000_000
ALL = Scope(0, 2**53)


def call(number: int, **changes: Any) -> Call:
    return msgspec.structs.replace(call_of(LINE, f"c{number:03}"), time=NOW + number, **changes)


CALLS = [
    *(call(n, duration=n * 10, first_token=n) for n in range(1, 101)),
    call(200, subject="bob", model="other", cost=None, claims={"team": "it"}),
    call(201, subject="bob", issuer="elsewhere", model="other", cost=7),
    call(HOUR, reason="Upstream", error="overloaded", input_tokens=None, output_tokens=None, cost=None),
]


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSqlServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="module", params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A ledger with CALLS."""
    folder = tmp_path_factory.mktemp(request.param)
    section = "usage: {}"
    if request.param == "postgresql":
        server = request.getfixturevalue("database")
        section = f"usage: {{postgresql: {{url: '{server.url}', password: {{env: PG}}}}}}"
    found = source(folder, f"{GATEWAY}\n{section}\n", SECRETS)
    ledger = open_ledger(found, SECRETS)
    ledger.add(CALLS)
    ledger.close()
    return found


@contextlib.contextmanager
def opened(kept: Source) -> Iterator[Reader]:
    found = Reader(open_engine(kept, SECRETS, read_only=True))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def reader(kept: Source) -> Iterator[Reader]:
    with opened(kept) as found:
        yield found


def test_sums_begin_with_the_dearest(reader: Reader) -> None:
    first, second = reader.sums(["model"], ALL)
    assert (first["model"], first["calls"], first["failed_calls"]) == ("best", 101, 1)
    assert first["cost"] == 100 * 2_680_001
    assert (second["model"], second["cost"], second["unpriced_calls"]) == ("other", 7, 1)
    assert first["warned_calls"] == 101


def test_without_calls_there_is_a_row_of_zeros(reader: Reader) -> None:
    [total] = reader.sums([], Scope(0, 1))
    assert (total["calls"], total["cost"], total["input_tokens"], total["last"]) == (0, 0, 0, None)


def test_a_person_is_a_subject_of_an_issuer(reader: Reader) -> None:
    """Another issuer's person of the same name is somebody else."""
    [total] = reader.sums([], Scope(0, 2**53, "bob", "lab"))
    assert total["calls"] == 1
    assert reader.call("c201", Scope(0, 2**53, "bob", "lab")) is None
    found = reader.call("c201", Scope(0, 2**53, "bob", "elsewhere"))
    assert found is not None and found["model"] == "other"


def test_calls_of_a_claim_and_a_model(reader: Reader) -> None:
    [total] = reader.sums([], ALL._replace(only={"team": "it", "model": "other"}))
    assert total["calls"] == 1
    assert reader.sums(["team"], ALL._replace(only={"team": "' OR 1=1 --"})) == []


def test_steps_of_time(reader: Reader) -> None:
    rows = reader.over_time("model", ["best"], HOUR, ALL)
    begin = NOW - NOW % HOUR
    assert [(row["start"], row["name"], row["calls"]) for row in rows] == [
        (begin, OTHER, 2), (begin, "best", 100), (begin + HOUR, "best", 1),
    ]  # fmt: skip
    assert [row["name"] for row in reader.over_time(None, [], HOUR, ALL)] == [OTHER, OTHER]


def test_percentiles_of_calls_that_succeeded(reader: Reader) -> None:
    rows = reader.latency("duration", "model", None, ALL)
    assert rows[0] == {"key": "best", "calls": 100, "p50": 500, "p95": 950}
    [row] = reader.latency("first_token", None, None, ALL._replace(only={"model": "best"}))
    assert (row["p50"], row["p95"]) == (50, 95)
    assert [row["calls"] for row in reader.latency("duration", None, HOUR, ALL)] == [102]


def test_the_newest_calls_and_those_before_them(reader: Reader) -> None:
    newest = reader.calls(ALL, None, 2)
    assert [row["id"] for row in newest] == ["c3600000", "c201"]
    older = reader.calls(ALL, (newest[-1]["time"], newest[-1]["id"]), 2)
    assert [row["id"] for row in older] == ["c200", "c100"]
    assert newest[0]["claims"] == {"team": "data", "level": 3}


def test_nothing_can_be_changed(kept: Source) -> None:
    engine = open_engine(kept, SECRETS, read_only=True)
    try:
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text("DELETE FROM extproc_calls"))
    finally:
        engine.dispose()
    with opened(kept) as reader:
        assert reader.sums([], ALL)[0]["calls"] == len(CALLS)


def test_a_statement_in_sqlite_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = source(tmp_path, f"{GATEWAY}\nusage: {{}}\n")
    ledger = open_ledger(kept, {})
    ledger.add(CALLS)
    ledger.close()
    monkeypatch.setattr(reading, "READING_SECONDS", -1)
    monkeypatch.setattr(reading, "_PROGRESS_STEPS", 1)
    with opened(kept) as reader, pytest.raises(TooSlow):
        reader.latency("duration", "model", None, ALL)


def test_a_statement_in_postgresql_has_its_time(
    tmp_path: Path, database: PostgreSqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it waits for somebody's lock."""
    section = f"usage: {{postgresql: {{url: '{database.url}', password: {{env: PG}}}}}}"
    found = source(tmp_path, f"{GATEWAY}\n{section}\n", SECRETS)
    ledger = open_ledger(found, SECRETS)
    ledger.add(CALLS)
    ledger.close()
    monkeypatch.setattr(opening, "READING_SECONDS", 1)
    engine = open_engine(found, SECRETS)
    try:
        with engine.begin() as holding:
            holding.execute(text("LOCK TABLE extproc_calls IN ACCESS EXCLUSIVE MODE"))
            with opened(found) as reader, pytest.raises(TooSlow):
                reader.sums([], ALL)
            holding.rollback()
    finally:
        engine.dispose()


def test_no_ledger_yet(tmp_path: Path) -> None:
    with opened(source(tmp_path, f"{GATEWAY}\nusage: {{}}\n")) as reader, pytest.raises(LedgerDown):
        reader.sums([], ALL)
    assert not list(tmp_path.rglob(FILE))


def test_a_reader_does_not_hold_the_writer_up(tmp_path: Path) -> None:
    found = source(tmp_path, f"{GATEWAY}\nusage: {{}}\n")
    ledger = open_ledger(found, {})
    ledger.add([call(1)])
    path = next(tmp_path.rglob(FILE))
    held = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        held.execute("BEGIN")
        assert held.execute("SELECT count(*) FROM extproc_calls").fetchone() == (1,)
        ledger.add([call(2)])
        assert held.execute("SELECT count(*) FROM extproc_calls").fetchone() == (1,)
        with opened(found) as reader:
            assert reader.sums([], ALL)[0]["calls"] == 2
    finally:
        held.close()
        ledger.close()
