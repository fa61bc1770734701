"""The ledger as pages read it: without a way to change it, and bounded in rows and in time. Everything here waits for
the database, so it runs in a thread."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from extproc.usage.ledger import CALLS, SUMS, LedgerDown, key_of, plain, why
from extproc.usage.opening import READING_SECONDS

Row = dict[str, Any]
MAX_ROWS = 500
MAX_BUCKETS = 400
_PROGRESS_STEPS = 20_000
"""SQLite's instructions between two looks at the clock."""
OTHER = ""
"""The name of what `Reader.over_time` does not tell apart."""


class TooSlow(Exception):
    """The statement took too long; a shorter time may not."""


class Scope(NamedTuple):
    """Which calls."""

    since: int
    """Milliseconds since 1970."""
    until: int
    """Not included."""
    subject: str | None = None
    issuer: str | None = None
    """With `subject`: the calls of one person alone."""
    only: Mapping[str, str] = {}
    """Values of columns and claims."""

    def conditions(self) -> list[ColumnElement[bool]]:
        found = [CALLS.c.time >= self.since, CALLS.c.time < self.until]
        if self.subject is not None:
            found += [CALLS.c.subject == self.subject, CALLS.c.issuer == (self.issuer or "")]
        return [*found, *(key_of(name) == value for name, value in self.only.items())]


class Reader:
    """All methods raise LedgerDown and TooSlow."""

    def __init__(self, engine: Engine) -> None:
        """`engine`: a read-only one; nothing is opened before it is needed."""
        self._engine = engine

    def sums(self, by: Sequence[str], scope: Scope) -> list[Row]:
        """Returns calls, tokens and costs for each combination of the values of `by`, the dearest first."""
        keys, named = _keys(by)
        dearest: list[ColumnElement[Any]] = [
            literal_column("cost").desc(),
            literal_column("input_tokens").desc(),
            literal_column("calls").desc(),
        ]
        question = select(*keys, *SUMS, *_MORE).where(*scope.conditions())
        question = question.group_by(*named).order_by(*dearest, *named).limit(MAX_ROWS)
        return self._rows(question, [*by, *_NAMES])

    def over_time(self, by: str | None, values: Sequence[str], step: int, scope: Scope) -> list[Row]:
        """Returns the same by steps of time: `start`, and `name`, the value of `by` where it is one of `values`, else
        OTHER. `step`: milliseconds."""
        name = literal(OTHER) if by is None else case((key_of(by).in_(values), key_of(by)), else_=OTHER)
        start = (CALLS.c.time - CALLS.c.time % step).label("start")
        named: list[ColumnElement[Any]] = [literal_column("start"), literal_column("name")]
        question = select(start, name.label("name"), *SUMS).where(*scope.conditions()).group_by(*named)
        limit = MAX_BUCKETS * (len(values) + 1)
        return self._rows(question.order_by(*named).limit(limit), ["start", "name", *_NAMES[: len(SUMS)]])

    def latency(self, what: str, by: str | None, step: int | None, scope: Scope) -> list[Row]:
        """Returns the median and the 95th percentile of `duration` or `first_token`, in milliseconds, of the calls that
        succeeded: `key`, `calls`, `p50`, `p95`. `by`: a column or claim; else `step`: milliseconds of a step."""
        column = CALLS.c[what]
        key = key_of(by) if by is not None else CALLS.c.time - CALLS.c.time % step if step else literal("")
        # Percentiles by rank: SQLite has no function for them.
        ranked = (
            select(
                key.label("key"),
                column.label("value"),
                func.row_number().over(partition_by=key, order_by=column).label("rank"),
                func.count().over(partition_by=key).label("calls"),
            )
            .where(*scope.conditions(), column.is_not(None), CALLS.c.reason == "")
            .subquery()
        )
        c = ranked.c
        shares = [
            func.min(case((c.rank * 100 >= c.calls * percent, c.value))).label(f"p{percent}") for percent in (50, 95)
        ]
        question = select(c.key, func.max(c.calls).label("calls"), *shares).group_by(c.key).order_by(c.key)
        return self._rows(question.limit(MAX_ROWS), ["key", "calls", "p50", "p95"])

    def calls(self, scope: Scope, before: tuple[int, str] | None, limit: int) -> list[Row]:
        """Returns the last calls, the newest first. `before`: time and id of the call to go on after."""
        question = select(CALLS).where(*scope.conditions())
        if before is not None:
            at, last = before
            question = question.where(or_(CALLS.c.time < at, and_(CALLS.c.time == at, CALLS.c.id < last)))
        question = question.order_by(CALLS.c.time.desc(), CALLS.c.id.desc()).limit(min(limit, MAX_ROWS))
        return self._rows(question, CALLS.c.keys(), as_is=True)

    def call(self, id: str, scope: Scope) -> Row | None:
        """Returns one call, or None where there is none in the scope."""
        found = self._rows(select(CALLS).where(CALLS.c.id == id, *scope.conditions()).limit(1), CALLS.c.keys(), True)
        return found[0] if found else None

    def close(self) -> None:
        self._engine.dispose()

    def _rows(self, question: Select[Any], names: Sequence[str], as_is: bool = False) -> list[Row]:
        with self._reading() as connection:
            found = connection.execute(question).all()
        return [dict(zip(names, row if as_is else map(plain, row), strict=True)) for row in found]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                self._limit(connection)
                yield connection
        except DBAPIError as error:
            text = why(error)
            # SQLite's and PostgreSQL's words for a statement that was ended.
            if "interrupted" in text or "statement timeout" in text:
                raise TooSlow from None
            raise LedgerDown(text) from None
        except SQLAlchemyError as error:
            raise LedgerDown(type(error).__name__) from None

    def _limit(self, connection: Connection) -> None:
        """PostgreSQL has its limit from the connection's options."""
        driver = connection.connection.driver_connection
        if self._engine.dialect.name == "sqlite" and driver is not None:
            deadline = time.monotonic() + READING_SECONDS
            # SQLite has no time limit for a statement; this ends one when it returns true.
            driver.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)


_MORE = (
    func.sum(case((CALLS.c.warnings != "", 1), else_=0)).label("warned_calls"),
    func.max(CALLS.c.time).label("last"),
)
_TEXTS = frozenset({"error", "warnings"})
"""Columns that nobody but `Reader.sums` sums up by."""
_NAMES = [column.name for column in (*SUMS, *_MORE)]


def _keys(by: Sequence[str]) -> tuple[list[ColumnElement[Any]], list[ColumnElement[Any]]]:
    keys: list[ColumnElement[Any]] = [_column(name).label(f"by_{number}") for number, name in enumerate(by)]
    return keys, [literal_column(f"by_{number}") for number in range(len(by))]


def _column(name: str) -> ColumnElement[Any]:
    return CALLS.c[name] if name in _TEXTS else key_of(name)
