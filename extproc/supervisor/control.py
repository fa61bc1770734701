"""The supervisor's end of the Unix socket on which commands and pages reach it (`transport/control.py`). The folder and
the socket are open to the same user only."""

import asyncio
import contextlib
import logging
import os
import pwd
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from extproc.supervisor.budget_commands import carry_out
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.provider_health import ProviderHealth
from extproc.transport.control import (
    SECONDS,
    BudgetAnswer,
    BudgetCommand,
    ControlReply,
    ControlRequest,
    check_owner,
    socket_path,
)

log = logging.getLogger("extproc")

MAX_BYTES = 1 << 20
_FOLDER_MODE, _SOCKET_MODE = 0o700, 0o600


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
                    if request.via == "command":
                        request = msgspec.structs.replace(request, by=_this_user(), issuer="")
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


def _this_user() -> str:
    """Returns the name of the user who alone can open the socket."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return f"uid {os.getuid()}"


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
    check_owner(path.parent)
    new = path.with_suffix(f".{os.getpid()}")
    bound = socket.socket(socket.AF_UNIX)
    try:
        new.unlink(missing_ok=True)
        # `bind` refuses a path that exists, even if nobody listens there; `rename` takes its place in one step.
        bound.bind(str(new))
        new.chmod(_SOCKET_MODE)
        new.rename(path)
    except OSError:
        bound.close()
        new.unlink(missing_ok=True)
        raise
    return bound
