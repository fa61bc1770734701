"""The ledger in a database: SQLite or PostgreSQL, by SQLAlchemy's Core.

One process writes, in batches; commands read and remove beside it. Everything here waits for the database: it runs in a
thread, or in a command.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    delete,
    func,
    insert,
    inspect,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from extproc.usage.calls import Call

QUARTER = "quarter"
QUARTER_HOUR = 15 * 60 * 1000
"""Milliseconds. Days begin at a quarter of an hour in every time zone."""
REMOVE_AT_ONCE = 5000
_LOCK = 4_702_111_234
"""PostgreSQL's advisory lock for changes of the tables: any number that no other program uses."""

_all = MetaData()
CALLS = Table(
    "extproc_calls",
    _all,
    Column("id", Text, primary_key=True),
    Column("time", BigInteger, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("request_id", "operation", "endpoint", "subject", "issuer")),
    Column("claims", JSON, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("model", "upstream_model", "response_model", "provider")),
    *(
        Column(name, BigInteger)
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost")
    ),
    Column("estimated", Boolean, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("reason", "error", "warnings")),
    Column("duration", BigInteger),
    Column("first_token", BigInteger),
    Column("attempts", Text, nullable=False, server_default=""),
    Column("moved_by", Text, nullable=False, server_default=""),
    Index("extproc_calls_time", "time"),
)
_VERSION = Table("extproc_calls_version", MetaData(), Column("version", Integer, nullable=False))


class LedgerDown(Exception):
    """The database cannot be used at the moment; `str()` says why."""


class Refused(Exception):
    """The database is there and does not take these calls."""


class Ledger:
    def __init__(self, engine: Engine) -> None:
        """Nothing is opened before it is needed."""
        self._engine = engine
        self._is_current = False

    def add(self, calls: Sequence[Call]) -> None:
        """Stores calls; those that are there already are left as they are. Raises LedgerDown, Refused."""
        kind = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        with self._begin() as connection:
            rows = [msgspec.structs.asdict(call) for call in calls]
            connection.execute(kind.insert(CALLS).on_conflict_do_nothing(index_elements=["id"]), rows)

    def sums(self, by: Sequence[str], since: int | None = None, until: int | None = None) -> list[dict[str, Any]]:
        """Returns calls, tokens and costs, for each combination of the values of `by`: columns, claims, or QUARTER,
        which is the time in steps of QUARTER_HOUR. `since`, `until`: milliseconds since 1970; the second is not
        included. Raises LedgerDown."""
        keys = [key_of(name).label(f"by_{number}") for number, name in enumerate(by)]
        # By their names: PostgreSQL does not know that two expressions with parameters are the same.
        named: list[ColumnElement[Any]] = [literal_column(key.name) for key in keys]
        question = select(*keys, *SUMS).group_by(*named).order_by(*named)
        question = question.where(CALLS.c.time >= since) if since is not None else question
        question = question.where(CALLS.c.time < until) if until is not None else question
        with self._begin() as connection:
            rows = connection.execute(question).all()
        names = [*by, *(column.name for column in SUMS)]
        return [dict(zip(names, map(plain, row), strict=True)) for row in rows]

    def remove_subject(self, subject: str) -> int:
        """Removes a person's calls and returns their number. Raises LedgerDown."""
        return self._remove(CALLS.c.subject == subject)

    def remove_before(self, time: int) -> int:
        """Removes older calls and returns their number. `time`: milliseconds since 1970. Raises LedgerDown."""
        return self._remove(CALLS.c.time < time)

    def check(self) -> None:
        """Connects, and makes no tables. Raises LedgerDown."""
        try:
            with self._engine.connect():
                pass
        except DBAPIError as error:
            raise LedgerDown(why(error)) from None

    def close(self) -> None:
        self._engine.dispose()

    def _remove(self, which: ColumnElement[bool]) -> int:
        """In steps, between which the writer has its turn."""
        some = select(CALLS.c.id).where(which).limit(REMOVE_AT_ONCE)
        removed = 0
        while True:
            with self._begin() as connection:
                count = connection.execute(delete(CALLS).where(CALLS.c.id.in_(some))).rowcount
            removed += count
            if count < REMOVE_AT_ONCE:
                return removed

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction, in a database whose tables are current."""
        try:
            if not self._is_current:
                with self._engine.begin() as connection:
                    migrate(connection)
                self._is_current = True
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if self._engine.dialect.name == "sqlite" or error.connection_invalidated or _is_operational(error):
                self._is_current = False
                raise LedgerDown(why(error)) from None
            raise Refused(why(error)) from None
        except (SQLAlchemyError, ValueError) as error:  # a text, for instance, that has no UTF-8
            raise Refused(type(error).__name__) from None


def _is_operational(error: DBAPIError) -> bool:
    """Not a fault of what is stored. The classes' names are those of PEP 249."""
    return type(error).__name__ in {"OperationalError", "InterfaceError", "InternalError", "ProgrammingError"}


def why(error: DBAPIError) -> str:
    """Returns the first line of the driver's own words, without the statement and its values."""
    return str(error.orig).strip().partition("\n")[0][:300] or type(error).__name__


def _added(name: str) -> Callable[[Connection], None]:
    """Returns a step that adds a column for text. Tables that the first step has just made have it."""

    def add(connection: Connection) -> None:
        if name not in {column["name"] for column in inspect(connection).get_columns(CALLS.name)}:
            connection.execute(text(f"ALTER TABLE {CALLS.name} ADD COLUMN {name} TEXT NOT NULL DEFAULT ''"))

    return add


# Steps from one version of the tables to the next. A change adds a step, and leaves the others as they are.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_all.create_all, _added("attempts"), _added("moved_by"))


def migrate(connection: Connection) -> None:
    """Makes the tables, or brings those of an older version up to date. Raises LedgerDown for those of a newer one."""
    if (version := _version(connection)) == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise LedgerDown(f"its tables are of version {version}, which a newer extproc has made")
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    else:  # a transaction that has read does not wait for one that writes: https://www.sqlite.org/isolation.html
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    version = _version(connection)  # another gateway may have done it meanwhile
    for step in MIGRATIONS[version:]:
        step(connection)
    _VERSION.create(connection, checkfirst=True)
    connection.execute(delete(_VERSION))
    connection.execute(insert(_VERSION).values(version=len(MIGRATIONS)))


def _version(connection: Connection) -> int:
    """0: there are no tables."""
    if not inspect(connection).has_table(_VERSION.name):
        return 0
    return connection.scalar(select(_VERSION.c.version)) or 0


COLUMNS = (
    "model", "upstream_model", "response_model", "provider", "subject", "issuer", "operation", "reason", "moved_by",
)  # fmt: skip
"""What `by` may name besides claims."""


def key_of(name: str) -> ColumnElement[Any]:
    """Returns the expression that calls are summed up by: of QUARTER, of a column, else of a claim."""
    if name == QUARTER:
        return CALLS.c.time - CALLS.c.time % QUARTER_HOUR
    return CALLS.c[name] if name in COLUMNS else CALLS.c.claims[name].as_string()


# Tokens without a price, and what passed through, which nobody has read.
_passed = (CALLS.c.operation == "passthrough") & (CALLS.c.reason == "")
_unpriced = CALLS.c.cost.is_(None) & (CALLS.c.input_tokens.is_not(None) | _passed)
SUMS = (
    func.count().label("calls"),
    func.sum(case((CALLS.c.reason != "", 1), else_=0)).label("failed_calls"),
    func.sum(case((_unpriced, 1), else_=0)).label("unpriced_calls"),
    func.sum(case((CALLS.c.estimated, 1), else_=0)).label("estimated_calls"),
    *(
        func.coalesce(func.sum(CALLS.c[name]), 0).label(name)
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost")
    ),
)


def plain(value: Any) -> Any:
    """PostgreSQL gives sums of large numbers as decimals."""
    return value if value is None or isinstance(value, str) else int(value)
