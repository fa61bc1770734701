"""Calls are stored in batches; whatever the database does, nobody waits for it, and what is lost is counted."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from extproc.supervisor import usage
from extproc.supervisor.usage import LedgerWriter
from extproc.usage.calls import Call
from extproc.usage.ledger import Ledger, LedgerDown, Refused
from extproc.usage.opening import open_engine, open_ledger
from tests.settings import ENVIRON, GATEWAY, source
from tests.usage_lines import LINE

SECONDS = 10.0
DAYS = 86400.0


class Database:
    """A ledger that does what the test says."""

    def __init__(self) -> None:
        self.batches: list[list[Call]] = []
        self.asked = 0
        self.fails: Exception | None = None
        self.refused: set[str] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.removed_before: list[int] = []

    def add(self, calls: Sequence[Call]) -> None:
        self.asked += 1
        self.may_go_on.wait(SECONDS)
        if self.fails is not None:
            raise self.fails
        if self.refused & {call.model for call in calls}:
            raise Refused("no")
        self.batches.append(list(calls))

    def remove_before(self, time: int) -> int:
        self.removed_before.append(time)
        return 0

    def close(self) -> None:
        pass

    @property
    def models(self) -> list[str]:
        return [call.model for batch in self.batches for call in batch]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def writer(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerWriter]:
    monkeypatch.setattr(usage, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(usage, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(usage, "MAX_WAITING", 50)
    made = LedgerWriter(lambda: database, 400 * DAYS)  # type: ignore[arg-type, return-value]
    made.start()
    yield made
    database.may_go_on.set()
    made.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def line(model: str = "m") -> str:
    return json.dumps({**LINE, "gen_ai.request.model": model})


def test_lines_of_the_log_are_stored(writer: LedgerWriter, database: Database) -> None:
    others = (
        "[info] Envoy starts",
        "{broken",
        "[]",
        '{"http.status": 200}',
        "{}",
        '{"gen_ai.operation.name": "probe"}',
    )
    for text in (*others, line("a"), line("b")):
        writer.read_log_line(text)
    until(lambda: database.models == ["a", "b"])
    until(lambda: writer.counts() == (2, 0, 0))


def test_workers_report_calls_and_how_many_they_dropped(writer: LedgerWriter, database: Database) -> None:
    for text in ("using 1", f"call {line('a')}", "calls-dropped 7", line("b"), "wants {}"):
        writer.read_worker_line(text)
    until(lambda: writer.counts() == (1, 7, 0))
    assert database.models == ["a"]


def test_calls_that_come_together_are_stored_together(writer: LedgerWriter, database: Database) -> None:
    database.may_go_on.clear()
    writer.read_log_line(line("first"))
    until(lambda: database.asked == 1)
    for number in range(40):
        writer.read_log_line(line(str(number)))
    database.may_go_on.set()
    until(lambda: writer.counts().stored == 41)
    assert len(database.batches) <= 3


def test_a_database_that_is_down_is_waited_for(
    writer: LedgerWriter, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.fails = LedgerDown("disk full")
    with caplog.at_level(logging.WARNING, "extproc"):
        for number in range(80):
            writer.read_log_line(line(str(number)))
        until(lambda: "disk full" in caplog.text)
        assert writer.counts().stored == 0
        assert writer.counts().dropped >= 80 - 50 - usage.MAX_BATCH
        database.fails = None
        until(lambda: writer.counts().waiting == 0)
        until(lambda: "can be used again" in caplog.text)
    counts = writer.counts()
    assert counts.stored + counts.dropped == 80
    assert database.models == sorted(database.models, key=int)
    assert caplog.text.count("disk full") == 1


def test_more_than_there_is_room_for_is_dropped_and_counted(
    writer: LedgerWriter, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.may_go_on.clear()
    writer.read_log_line(line("first"))
    until(lambda: database.asked == 1)
    began = time.monotonic()
    with caplog.at_level(logging.ERROR, "extproc"):
        for number in range(60):
            writer.read_log_line(line(str(number)))
    assert time.monotonic() - began < 1
    assert writer.counts() == (0, 10, 51)
    assert caplog.text.count("calls are missing in the ledger") == 1
    database.may_go_on.set()
    until(lambda: writer.counts() == (51, 10, 0))


def test_a_call_that_is_not_taken_costs_no_other(writer: LedgerWriter, database: Database) -> None:
    database.refused = {"bad"}
    database.may_go_on.clear()
    for model in ("first", "a", "bad", "b"):
        writer.read_log_line(line(model))
    database.may_go_on.set()
    until(lambda: writer.counts() == (3, 1, 0))
    assert database.models == ["first", "a", "b"]


def test_a_bug_does_not_end_the_writer(
    writer: LedgerWriter, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.fails = RuntimeError("a secret of a row")
    writer.read_log_line(line("a"))
    until(lambda: "RuntimeError" in caplog.text)
    database.fails = None
    until(lambda: writer.counts() == (1, 0, 0))
    assert "a secret" not in caplog.text


def test_what_waits_at_the_end_is_stored(writer: LedgerWriter, database: Database) -> None:
    for number in range(20):
        writer.read_log_line(line(str(number)))
    writer.close()
    assert len(database.models) == 20


def test_an_end_does_not_wait_for_a_database_that_is_down(
    writer: LedgerWriter, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.fails = LedgerDown("gone")
    writer.read_log_line(line())
    until(lambda: "gone" in caplog.text)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 2
    assert "1 calls are missing in the ledger" in caplog.text


def test_old_calls_are_removed(writer: LedgerWriter, database: Database) -> None:
    until(lambda: len(database.removed_before) == 1)
    assert database.removed_before[0] == pytest.approx((time.time() - 400 * DAYS) * 1000, abs=60_000)


def test_a_folder_that_cannot_be_used_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "RETRY_SECONDS", 0.01)
    (tmp_path / "state").write_text("a file in the place of the folder")
    made = usage.writer(source(tmp_path, f"{GATEWAY}\nusage: {{}}\n"), ENVIRON)
    assert made is not None
    try:
        made.read_log_line(line())
        until(lambda: "the ledger cannot be used" in caplog.text)
        (tmp_path / "state").unlink()
        until(lambda: made.counts() == (1, 0, 0))
    finally:
        made.close()


def test_a_full_disk_costs_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's own limit of pages says what a full disk does."""
    monkeypatch.setattr(usage, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(usage, "PAUSE_SECONDS", 0.01)
    where = source(tmp_path, f"{GATEWAY}\nusage: {{}}\n")
    room = ["max_page_count = 20"]

    def opened() -> Ledger:
        engine = open_engine(where, ENVIRON)

        def limit(connection: Any, _record: object, _proxy: object) -> None:
            connection.execute(f"PRAGMA {room[0]}")

        event.listen(engine, "checkout", limit)
        return Ledger(engine)

    made = LedgerWriter(opened, 400 * DAYS)
    made.start()
    try:
        for number in range(500):
            made.read_log_line(line(str(number)))
        until(lambda: "full" in caplog.text)
        room[0] = "max_page_count = 1000000"
        until(lambda: made.counts() == (500, 0, 0))
    finally:
        made.close()
    assert open_ledger(where, ENVIRON).sums([])[0]["calls"] == 500


def test_without_the_section_there_is_no_ledger(tmp_path: Path) -> None:
    assert usage.writer(source(tmp_path, GATEWAY), ENVIRON) is None
    assert not (tmp_path / "state").exists()


def test_reading_a_line_costs_little(writer: LedgerWriter, database: Database) -> None:
    text, count = line(), 1000
    database.may_go_on.clear()
    began = time.perf_counter()
    for _ in range(count):
        writer.read_log_line(text)
    assert (time.perf_counter() - began) / count < 500e-6
