"""The ledger keeps the same promises in SQLite and in PostgreSQL."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from extproc.config.loading import Source
from extproc.usage import ledger as module
from extproc.usage.calls import Call, call_of
from extproc.usage.ledger import QUARTER, QUARTER_HOUR, Ledger, LedgerDown, Refused
from extproc.usage.opening import FILE, open_engine, open_ledger
from tests.postgresql_server import PASSWORD, PostgreSqlServer, postgresql_server
from tests.settings import ENVIRON, GATEWAY, source
from tests.usage_lines import LINE

KINDS = ("sqlite", "postgresql")
SECRETS = {**ENVIRON, "PG": PASSWORD}


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSqlServer]:
    with postgresql_server() as server:
        yield server


@dataclass
class Kept:
    """A ledger, which is empty at first."""

    source: Source
    opened: list[Ledger]

    def ledger(self) -> Ledger:
        """Opens it once more."""
        self.opened.append(open_ledger(self.source, SECRETS))
        return self.opened[-1]

    def execute(self, *statements: str) -> Any:
        """Past the ledger. Returns the first row of the last one."""
        engine = open_engine(self.source, SECRETS)
        try:
            with engine.begin() as connection:
                found = [connection.execute(text(statement)) for statement in statements]
                return found[-1].first() if found[-1].returns_rows else None
        finally:
            engine.dispose()


def in_postgresql(folder: Path, server: PostgreSqlServer) -> Source:
    return source(
        folder, f"{GATEWAY}\nusage: {{postgresql: {{url: '{server.url}', password: {{env: PG}}}}}}\n", SECRETS
    )


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    if request.param == "sqlite":
        found = Kept(source(tmp_path, f"{GATEWAY}\nusage: {{}}\n"), [])
    else:
        found = Kept(in_postgresql(tmp_path, request.getfixturevalue("database")), [])
    yield found
    if request.param != "sqlite":
        found.execute(*(f"DROP TABLE IF EXISTS {name}" for name in ("extproc_calls", "extproc_calls_version")))
    for ledger in found.opened:
        ledger.close()


def call(id: str, time: int = 0, **changes: Any) -> Call:
    return msgspec.structs.replace(call_of(LINE, id), time=time, **changes)


def test_calls_are_kept_for_the_next_process(kept: Kept) -> None:
    kept.ledger().add([call("a"), call("b", claims={"team": "it"}, cost=None, reason="Truncated", estimated=True)])
    [data, it] = kept.ledger().sums(["team"])
    assert data == {
        "team": "data", "calls": 1, "failed_calls": 0, "unpriced_calls": 0, "estimated_calls": 0,
        "input_tokens": 1000, "output_tokens": 100, "cache_read_tokens": 400, "cache_write_tokens": 0,
        "cost": 2_680_001,
    }  # fmt: skip
    assert (it["team"], it["failed_calls"], it["unpriced_calls"], it["estimated_calls"], it["cost"]) == (
        "it", 1, 1, 1, 0,
    )  # fmt: skip


def test_a_call_that_is_stored_twice_is_one_call(kept: Kept) -> None:
    ledger = kept.ledger()
    ledger.add([call("a"), call("b")])
    ledger.add([call("b"), call("c")])
    assert ledger.sums([])[0]["calls"] == 3


def test_sums_by_several_names_and_times(kept: Kept) -> None:
    ledger = kept.ledger()
    ledger.add([call(f"a{n}", n * QUARTER_HOUR, model=f"m{n % 2}") for n in range(4)])
    ledger.add([call("b", 0, model="m0", claims={})])
    rows = [(row["model"], row["team"], row["calls"]) for row in ledger.sums(["model", "team"])]
    assert sorted(rows, key=str) == [("m0", "data", 2), ("m0", None, 1), ("m1", "data", 2)]
    assert [row[QUARTER] for row in ledger.sums([QUARTER])] == [n * QUARTER_HOUR for n in range(4)]
    found = ledger.sums(["model"], since=QUARTER_HOUR, until=3 * QUARTER_HOUR)
    assert [(row["model"], row["calls"]) for row in found] == [("m0", 1), ("m1", 1)]
    assert ledger.sums(["model"], since=10 * QUARTER_HOUR) == []


def test_sums_are_exact(kept: Kept) -> None:
    """As sums of floating point they would not be."""
    ledger = kept.ledger()
    ledger.add([call(f"a{n}", cost=100_000_001) for n in range(1000)])
    ledger.add([call("most", cost=2**53, input_tokens=2**53)])
    [row] = ledger.sums([])
    assert row["cost"] == 1000 * 100_000_001 + 2**53
    assert row["input_tokens"] == 1000 * 1000 + 2**53


def test_what_has_no_price_is_counted(kept: Kept) -> None:
    ledger = kept.ledger()
    nothing: dict[str, Any] = dict.fromkeys(("input_tokens", "output_tokens", "cost"))
    ledger.add(
        [
            call("priced", cost=0),
            call("unpriced", cost=None),
            call("refused", reason="Authorization", **nothing),
            call("counted", operation="count_tokens", **nothing),
            call("passed", operation="passthrough", **nothing),
            call("refused-passing", operation="passthrough", reason="Authorization", **nothing),
        ]
    )
    [row] = ledger.sums([])
    assert (row["calls"], row["unpriced_calls"], row["failed_calls"]) == (6, 2, 2)


@pytest.mark.parametrize("name", ["team", "a b", "pa.th", "it's", "%", "naïve", "a:b"])
def test_any_claim_can_be_summed_up_by(kept: Kept, name: str) -> None:
    ledger = kept.ledger()
    ledger.add([call("a", claims={name: "x", "other": "y"}), call("b", claims={name: "x'); DROP TABLE x; --"})])
    found = {row[name]: row["calls"] for row in ledger.sums([name, "other"])}
    assert found == {"x": 1, "x'); DROP TABLE x; --": 1}


def test_a_persons_calls_are_removed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMOVE_AT_ONCE", 3)
    ledger = kept.ledger()
    ledger.add([call(f"a{n}", subject="ann") for n in range(7)] + [call("b", subject="bob")])
    assert ledger.remove_subject("ann") == 7
    assert ledger.remove_subject("ann") == 0
    assert [row["subject"] for row in ledger.sums(["subject"])] == ["bob"]


def test_old_calls_are_removed(kept: Kept) -> None:
    ledger = kept.ledger()
    ledger.add([call(str(n), n) for n in range(10)])
    assert ledger.remove_before(6) == 6
    assert ledger.sums([])[0]["calls"] == 4


def test_several_gateways_make_the_tables_at_once(kept: Kept) -> None:
    stored: list[int] = []

    def begin(number: int) -> None:
        ledger = kept.ledger()
        for _ in range(100):
            with contextlib.suppress(LedgerDown):  # it is tried again
                ledger.add([call(f"{number}")])
                stored.append(number)
                return

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored) == list(range(4))
    assert kept.ledger().sums([])[0]["calls"] == 4


def test_the_tables_of_a_newer_version_are_left_alone(kept: Kept) -> None:
    ledger = kept.ledger()
    ledger.add([call("a")])
    kept.execute("UPDATE extproc_calls_version SET version = 99")
    with pytest.raises(LedgerDown, match="version 99, which a newer extproc has made"):
        kept.ledger().add([call("b")])


def test_an_older_version_is_brought_up_to_date(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.ledger().add([call("a")])

    def second(connection: Any) -> None:
        connection.execute(text("ALTER TABLE extproc_calls ADD COLUMN extra TEXT"))

    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, second))
    ledger = kept.ledger()
    ledger.add([call("b")])
    assert kept.execute("SELECT count(*), count(extra) FROM extproc_calls") == (2, 0)
    kept.ledger().add([call("c")])


def test_several_make_the_tables_at_the_same_time(kept: Kept) -> None:
    ledgers = [kept.ledger() for _ in range(3)]
    ledgers[0].check()  # connects
    gate = threading.Barrier(len(ledgers))

    def add(number: int) -> None:
        gate.wait()
        ledgers[number].add([call(f"c{number}")])

    with ThreadPoolExecutor() as pool:
        list(pool.map(add, range(len(ledgers))))
    assert ledgers[0].sums([])[0]["calls"] == 3


def test_tables_of_the_first_version_get_the_newer_columns(kept: Kept) -> None:
    kept.ledger().add([call("a")])
    for column in ("attempts", "moved_by"):
        kept.execute(f"ALTER TABLE extproc_calls DROP COLUMN {column}")
    kept.execute("UPDATE extproc_calls_version SET version = 1")
    ledger = kept.ledger()
    ledger.add([call("b", attempts="near 503 overloaded 0.01s; far 200", moved_by="day")])
    assert kept.execute("SELECT count(*), max(attempts), min(attempts) FROM extproc_calls") == (
        2,
        "near 503 overloaded 0.01s; far 200",
        "",
    )
    assert {row["moved_by"]: row["calls"] for row in ledger.sums(["moved_by"])} == {"": 1, "day": 1}


def test_a_change_that_fails_leaves_the_tables_as_they_were(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.ledger().add([call("a")])

    def fails(connection: Any) -> None:
        connection.execute(text("ALTER TABLE extproc_calls ADD COLUMN extra TEXT"))
        connection.execute(text("no statement at all"))

    with monkeypatch.context() as changed:
        changed.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, fails))
        with pytest.raises((LedgerDown, Refused)):
            kept.ledger().add([call("b")])
    ledger = kept.ledger()
    ledger.add([call("b")])
    with pytest.raises(DBAPIError, match="extra"):
        kept.execute("SELECT extra FROM extproc_calls")


def test_a_text_that_has_no_bytes_is_refused(kept: Kept) -> None:
    ledger = kept.ledger()
    with pytest.raises(Refused):
        ledger.add([call("a", model="\ud800")])
    ledger.add([call("b")])
    assert ledger.sums([])[0]["calls"] == 1


def test_the_rights_that_a_gateway_needs_once_the_tables_are_there(database: PostgreSqlServer, tmp_path: Path) -> None:
    owner = Kept(in_postgresql(tmp_path, database), [])
    owner.ledger().add([call("a")])
    owner.execute(
        "REVOKE CREATE ON SCHEMA public FROM public",
        f"CREATE USER writer PASSWORD '{PASSWORD}'",
        "GRANT SELECT, INSERT, DELETE ON extproc_calls, extproc_calls_version TO writer",
    )
    as_writer = database.url.replace("gateway@", "writer@")
    text = f"{GATEWAY}\nusage: {{postgresql: {{url: '{as_writer}', password: {{env: PG}}}}}}\n"
    ledger = open_ledger(source(tmp_path, text, SECRETS), SECRETS)
    try:
        ledger.add([call("a"), call("b", subject="bob")])
        assert (ledger.remove_subject("bob"), ledger.sums([])[0]["calls"]) == (1, 1)
        owner.execute("DROP TABLE extproc_calls, extproc_calls_version")
        with pytest.raises(LedgerDown, match="does not exist"):
            ledger.add([call("c")])
        with pytest.raises(LedgerDown, match="permission denied"):
            ledger.add([call("c")])
    finally:
        ledger.close()
        owner.execute("DROP USER writer")
        for one in owner.opened:
            one.close()


def test_a_database_without_an_encoding(database: PostgreSqlServer, tmp_path: Path) -> None:
    engine = open_engine(in_postgresql(tmp_path, database), SECRETS)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"))
    engine.dispose()
    where = f"{GATEWAY}\nusage: {{postgresql: {{url: '{database.url}', password: {{env: PG}}}}}}\n"
    ledger = open_ledger(source(tmp_path, where.replace("/postgres'", "/ascii'"), SECRETS), SECRETS)
    try:
        ledger.add([call("a", subject="Jörg")])
        assert ledger.sums(["subject"])[0]["subject"] == "Jörg"
    finally:
        ledger.close()


def test_what_a_database_does_not_take_is_refused(database: PostgreSqlServer, tmp_path: Path) -> None:
    ledger = open_ledger(in_postgresql(tmp_path, database), SECRETS)
    try:
        with pytest.raises(Refused):
            ledger.add([call("a", model="a\0b")])
        ledger.add([call("b")])
    finally:
        ledger.close()


def test_a_wrong_password_is_said_and_not_shown(database: PostgreSqlServer, tmp_path: Path) -> None:
    ledger = open_ledger(in_postgresql(tmp_path, database), {**SECRETS, "PG": "a-wrong-secret"})
    with pytest.raises(LedgerDown, match="authentication failed") as found:
        ledger.add([call("a")])
    assert "a-wrong-secret" not in str(found.value)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    where = source(tmp_path, f"{GATEWAY}\nusage: {{}}\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE).write_text("no database " * 100)
    with pytest.raises(LedgerDown, match="not a database"):
        open_ledger(where, ENVIRON).add([call("a")])


def test_others_read_while_one_writes(tmp_path: Path) -> None:
    where = source(tmp_path, f"{GATEWAY}\nusage: {{}}\n")
    ledger = open_ledger(where, ENVIRON)
    ledger.add([call("a")])
    other = sqlite3.connect(tmp_path / "state" / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM extproc_calls")
    assert ledger.sums([])[0]["calls"] == 1
    other.execute("ROLLBACK")
    other.close()
    ledger.close()
