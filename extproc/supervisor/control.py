"""The Unix socket on which commands reach the supervisor that runs: one JSON line asks, one answers.

Both ends find it by the path of the configuration, so a command needs no address. The folder and the socket are open to
the same user only."""

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from extproc.providers.availability import ProviderState
from extproc.supervisor.budget_commands import BudgetAnswer, BudgetCommand, carry_out
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.provider_health import ProviderHealth

log = logging.getLogger("extproc")

SECONDS = 5.0
MAX_BYTES = 1 << 20
_FOLDER_MODE, _SOCKET_MODE = 0o700, 0o600


class ControlRequest(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    command: Literal["list", "drain", "resume"]
    provider: str = ""
    """For all but `list`."""


class ControlReply(msgspec.Struct):
    providers: dict[str, ProviderState]
    """All of them, after the command."""
    known: bool = True
    """The request's provider is one of them; otherwise nothing was done."""


T = TypeVar("T", ControlReply, BudgetAnswer)


class Unreachable(Exception):
    """`str()` says that no supervisor answers, and where one was looked for."""


def socket_path(config: Path) -> Path:
    """Returns where the supervisor of this configuration listens, whether or not one runs."""
    name = hashlib.sha256(os.fsencode(_absolute(config))).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"extproc-{os.getuid()}" / f"{name}.sock"


def _absolute(config: Path) -> str:
    """Follows no link: Kubernetes swaps them, and the path stays."""
    return os.path.abspath(config)  # noqa: PTH100


@contextlib.asynccontextmanager
async def listening(config: Path, health: ProviderHealth, budgets: BudgetKeeper | None = None) -> AsyncIterator[None]:
    """Answers commands. A supervisor that starts later with the same configuration takes over. Where that is not
    possible, the log says so, and all else works."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                request = msgspec.json.decode(await reader.readline(), type=ControlRequest | BudgetCommand)
                if isinstance(request, ControlRequest):
                    reply: ControlReply | BudgetAnswer = _reply(request, health)
                else:
                    reply = await carry_out(request, budgets or BudgetKeeper(lambda _: None))
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (OSError, ValueError, msgspec.MsgspecError):  # not one of our commands, or it has gone
            pass
        finally:
            writer.close()

    path = socket_path(config)
    try:
        bound = _bind(path)
    except OSError as error:
        log.warning("`extproc provider` cannot reach this gateway: %s: %s", path, error.strerror or error)
        yield
        return
    server = await asyncio.start_unix_server(answer, sock=bound, limit=MAX_BYTES)
    ours = path.stat().st_ino
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == ours:
                path.unlink()


def _reply(request: ControlRequest, health: ProviderHealth) -> ControlReply:
    known = request.command == "list" or request.provider in health.states()
    if known and request.command == "drain":
        health.drain(request.provider)
    elif known and request.command == "resume":
        health.resume(request.provider)
    return ControlReply(health.states(), known)


def _bind(path: Path) -> socket.socket:
    """Takes the path's place at once, also from a socket that somebody listens on. Raises OSError."""
    path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    _check_owner(path.parent)
    new = path.with_suffix(f".{os.getpid()}")
    bound = socket.socket(socket.AF_UNIX)
    try:
        new.unlink(missing_ok=True)
        bound.bind(str(new))
        new.chmod(_SOCKET_MODE)
        new.rename(path)
    except OSError:
        bound.close()
        new.unlink(missing_ok=True)
        raise
    return bound


def _check_owner(folder: Path) -> None:
    """The folder for temporary files is open to all users: one of them could have made ours. Raises OSError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(None, "it belongs to another user, or others may read it", str(folder))


def ask(config: Path, request: ControlRequest) -> ControlReply:
    """Returns the answer of the supervisor that runs with this configuration. Raises Unreachable."""
    return _asked(config, request, ControlReply)


def ask_budgets(config: Path, command: BudgetCommand) -> BudgetAnswer:
    """As `ask`, about budgets."""
    return _asked(config, command, BudgetAnswer)


def _asked(config: Path, request: ControlRequest | BudgetCommand, kind: type[T]) -> T:
    path = socket_path(config)
    try:
        _check_owner(path.parent)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as answers:
                return msgspec.json.decode(answers.readline(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        why = error.strerror or error if isinstance(error, OSError) else "no answer"
        problem = f"no gateway of this user answers that was started with {_absolute(config)} ({path}: {why})"
        raise Unreachable(problem) from None
