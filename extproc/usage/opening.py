"""The ledger that the configuration names, and what is wrong there. SQLAlchemy is loaded when it is opened."""

import json
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.config.schema_usage import PostgreSql
from extproc.providers import credentials
from extproc.store.embedded import make_private
from extproc.store.opening import FOLDER

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from extproc.usage.ledger import Ledger

FILE = "usage.sqlite"
BUSY_SECONDS = 5
"""How long a statement waits for another process's write."""
CONNECT_SECONDS, STATEMENT_SECONDS = 5, 30
READING_SECONDS = 5
"""For a statement that only reads, while somebody waits for a page."""
_WHERE = ("usage", "postgresql")


def faults(source: Source, environ: Mapping[str, str]) -> list[Fault]:
    """Mistakes in `usage` that its keys alone do not show."""
    settings = source.config.usage
    if settings is None:
        return []
    needed = ("sqlalchemy",) if settings.postgresql is None else ("sqlalchemy", "psycopg")
    extra = "usage" if settings.postgresql is None else "postgresql"
    found = [] if all(map(find_spec, needed)) else [_missing(extra)]
    if (database := settings.postgresql) is not None:
        if database.password is not None:
            credentials.load(source, database.password, (*_WHERE, "password"), environ, found)
        if database.ca_file is not None and not source.resolve(database.ca_file).is_file():
            found.append(Fault((*_WHERE, "ca_file"), f"{database.ca_file} is no file"))
    return found


def _missing(extra: str) -> Fault:
    return Fault(("usage",), f"needs an extra: pip install 'llm-extproc[{extra}]'")


def open_ledger(source: Source, environ: Mapping[str, str]) -> "Ledger":
    """Connects when it is used. `source` has the section `usage`. Raises OSError where the folder of SQLite's file
    cannot be used."""
    from extproc.usage.ledger import Ledger

    return Ledger(open_engine(source, environ))


def open_engine(source: Source, environ: Mapping[str, str], *, read_only: bool = False) -> "Engine":
    """The same for SQLAlchemy's engine. `read_only`: the database refuses every change, and a statement has
    READING_SECONDS."""
    from sqlalchemy import create_engine

    settings = source.config.usage
    assert settings is not None
    if settings.postgresql is not None:
        return create_engine(**_postgresql(source, settings.postgresql, environ, read_only))
    from sqlalchemy import QueuePool, event

    path = file(source)
    if read_only:
        uri = f"file:{quote(str(path))}?mode=ro"  # https://www.sqlite.org/uri.html
        return create_engine("sqlite+pysqlite://", creator=lambda: _reading(uri), poolclass=QueuePool)
    make_private(path.parent, path.name)
    engine = create_engine(
        "sqlite+pysqlite://",
        # By this URL SQLAlchemy expects a database in memory, and would keep a connection for each thread.
        creator=lambda: _connected(path),
        poolclass=QueuePool,
        json_serializer=partial(json.dumps, ensure_ascii=False),  # or no path would find such a name
    )
    # The driver begins no transaction by itself, so that changes of the tables are in one, too.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def file(source: Source) -> Path:
    """Where SQLite keeps it."""
    return (source.path.parent / (source.config.store.folder or FOLDER)).absolute() / FILE


def _reading(uri: str) -> Any:
    import sqlite3

    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _connected(path: Path) -> Any:
    import sqlite3

    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode = WAL",  # commands read while the gateway writes: https://www.sqlite.org/wal.html
        "synchronous = FULL",  # a batch is on disk when it is stored
        "secure_delete = ON",  # what is removed is overwritten
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _postgresql(
    source: Source, settings: PostgreSql, environ: Mapping[str, str], read_only: bool = False
) -> dict[str, Any]:
    """Arguments of create_engine. https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS"""
    from sqlalchemy import URL

    secret = settings.password
    password = credentials.load(source, secret, (*_WHERE, "password"), environ, []) if secret is not None else None
    parts = urlsplit(settings.url)
    seconds = READING_SECONDS if read_only else STATEMENT_SECONDS
    options = f"-c statement_timeout={seconds}s" + (" -c default_transaction_read_only=on" if read_only else "")
    url = URL.create(
        "postgresql+psycopg",
        username=parts.username,
        password=password.reveal() if password is not None else None,
        host=parts.hostname,
        port=parts.port,
        database=parts.path.strip("/"),
    )
    return {
        "url": url,
        "pool_size": 1,
        "max_overflow": 1,
        # A database that was restarted has closed the pool's connections:
        # https://docs.sqlalchemy.org/en/20/core/pooling.html#disconnect-handling-pessimistic
        "pool_pre_ping": True,
        # Else the texts of errors quote the values of a statement.
        "hide_parameters": True,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "options": options,
            "application_name": "llm-extproc",
            "client_encoding": "utf8",  # the driver gives bytes for text of a database in SQL_ASCII
            # A database that is gone without a word must not be waited for.
            "keepalives_idle": 10,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            **tls(source, settings),
        },
    }


def tls(source: Source, settings: PostgreSql) -> dict[str, str]:
    """Verified, unless the URL says otherwise or the database is on this machine."""
    parts = urlsplit(settings.url)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    mode = dict(parse_qsl(parts.query)).get("sslmode")
    if settings.ca_file is not None:
        return {"sslmode": mode or "verify-full", "sslrootcert": str(source.resolve(settings.ca_file))}
    if mode is not None or here:
        return {"sslmode": mode or "prefer"}
    # By default libpq verifies nothing; `system` (libpq 16 and newer) means the authorities that OpenSSL trusts.
    return {"sslmode": "verify-full", "sslrootcert": "system"}
