"""A real PostgreSQL server on a free port of loopback."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import free_port

SECONDS = 30.0
USER, PASSWORD, DATABASE = "gateway", "a-password-of-postgresql", "postgres"


def programs() -> Path:
    """The folder of the server's programs, which Debian keeps out of PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and os.environ.get("TOOLS") != "required":
        pytest.skip("there is no PostgreSQL on this machine: the ledger in PostgreSQL is not tested")
    assert found, "TOOLS=required, and there is no PostgreSQL"
    return found[-1].resolve().parent


class PostgreSqlServer:
    def __init__(self, folder: Path, pair: Path | None = None) -> None:
        """`folder`: empty, and of the user that the server runs as. `pair`: where its certificate is, and beside it the
        key; None: no TLS."""
        self.port = free_port()
        self._programs = programs()
        self._folder = folder
        self._pair = pair
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@localhost:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        _owned(password)
        how = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}", "--no-sync", "--encoding=UTF8"]
        data = self._folder / "data"
        subprocess.run(
            [self._programs / "initdb", "-D", data, *how],
            check=True,
            capture_output=True,
            cwd=self._folder,
            **_as_other(),
        )
        if self._pair is not None:
            for name, path in (("server.crt", self._pair), ("server.key", self._pair.with_suffix(".key"))):
                shutil.copy(path, data / name)
                (data / name).chmod(0o600)
                _owned(data / name)

    def start(self) -> None:
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        options |= {"ssl": "on"} if self._pair is not None else {}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", *settings],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder, **_as_other(),
        )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        ready: list[str | Path] = [self._programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        while subprocess.run(ready, check=False).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """At once: connections break."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(SECONDS)
            self._process = None


def _as_other() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    return {"user": _other().pw_uid, "group": _other().pw_gid, "extra_groups": []} if os.getuid() == 0 else {}


def _other() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _owned(path: Path) -> None:
    if os.getuid() == 0:
        os.chown(path, _other().pw_uid, _other().pw_gid)


@contextlib.contextmanager
def postgresql_server(pair: Path | None = None) -> Iterator[PostgreSqlServer]:
    # pytest's folders are root's alone.
    with tempfile.TemporaryDirectory(prefix="extproc-postgresql-") as name:
        _owned(Path(name))
        server = PostgreSqlServer(Path(name), pair)
        server.prepare()
        server.start()
        try:
            yield server
        finally:
            server.stop()
