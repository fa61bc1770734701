"""What commands and pages ask the supervisor that runs, and how they reach it: one JSON line asks, one answers, on a
Unix socket.

Both ends find the socket by the path of the configuration, so nobody needs an address.
"""

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from extproc.providers.availability import ProviderState

SECONDS = 10.0
"""More than a store takes to refuse a change (`embedded.BUSY_SECONDS`), or it would be unknown whether it was made."""
MAYBE_DONE = "it is unknown whether the change was made; look before you repeat it"


class ControlRequest(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    command: Literal["list", "drain", "resume"]
    provider: str = ""
    """For all but `list`."""


class ControlReply(msgspec.Struct):
    providers: dict[str, ProviderState]
    """All of them, after the command."""
    known: bool = True
    """The request's provider is one of them; otherwise nothing was done."""


class BudgetCommand(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """What somebody on this machine asks for, or an operator through the API."""

    command: Literal["list", "set", "reset", "grant", "audit"]
    name: str = ""
    """The budget's; empty for `list`: all of them."""
    key: str = ""
    amount: float | None = None
    """In USD, tokens or calls; None for `set`: as configured."""
    measure: str = ""
    """Needed where the budget limits several."""
    until: float = 0
    """Unix seconds; 0 for `set`: for good; for `grant`: to the end of the period."""
    accounts: list[str] | None = None
    """For `list`: these alone, also where nothing of them is used; None: all that are known."""
    most: int = 0
    """For `list`: so many lines of each budget, those that have used the largest share first; 0: all, by their keys."""
    skip: int = 0
    """For `list` with `most`: lines of each budget that are left out at the beginning."""
    only_changed: bool = False
    """For `list`: limits that somebody has changed by hand, and no others."""
    entries: int = 100
    """For `audit`: so many, the newest first; at most as many as are kept."""
    via: Literal["api", "command"] = "command"
    by: str = ""
    """Subject of the caller of the API. A command is its user's."""
    issuer: str = ""
    """Issuer of the caller's token."""


class BudgetLine(msgspec.Struct):
    """A limit for one key. Amounts are in USD, tokens or calls."""

    name: str
    key: str
    measure: str
    used: float
    reserved: float
    limit: float
    configured: float
    resets: int
    """Unix seconds; 0: it does not."""
    is_set: bool = False
    """Somebody has set another limit by hand, which is in force."""
    set_until: int = 0
    """Unix seconds at which that ends; 0: never."""
    grants: list[tuple[float, int]] = []
    """Amounts that were granted on top and are in force, each with the Unix seconds at which it ends."""
    set_to: float | None = None
    """The limit that was set, without grants; None: none is in force."""
    created: int = 0
    """Unix seconds of the first change by hand; 0: there was none."""
    updated: int = 0
    """Unix seconds of the last one."""

    @property
    def share(self) -> float:
        """How much of the limit is used or reserved; 1 is all of it."""
        taken = self.used + self.reserved
        return taken / self.limit if self.limit else float(taken > 0)


class BudgetChange(msgspec.Struct):
    """An entry of the audit. Amounts are in USD, tokens or calls."""

    at: int
    """Unix seconds."""
    by: str
    """Subject of the caller, or user of the machine."""
    via: Literal["api", "command"]
    action: Literal["set", "grant", "reset"]
    name: str
    key: str
    measure: str
    old: float
    """The limit in force before; for `reset`: what was used."""
    new: float
    until: int = 0
    """Unix seconds at which the change ends; 0: never."""
    issuer: str = ""
    """Issuer of the caller's token."""


class BudgetAnswer(msgspec.Struct):
    lines: list[BudgetLine] = []
    """For a change: the limits that were changed, as they are then; none where the counters could not be read then."""
    problem: str = ""
    """Why nothing was done; empty: it was."""
    field: str = ""
    """The field of the command that the problem is about; empty: none of them."""
    store_down: bool = False
    """The problem is that the counters cannot be reached."""
    maybe_done: bool = False
    """Nobody knows whether the change was made."""
    changes: list[BudgetChange] = []
    """For `audit`."""
    has_more: bool = False
    """For `audit`: there are older changes."""
    totals: dict[str, int] = {}
    """How many lines there are of each budget, those included that were left out."""


T = TypeVar("T", ControlReply, BudgetAnswer)


class Unreachable(Exception):
    """`str()` says that no supervisor answers, and where one was looked for."""


class Unanswered(Unreachable):
    """A supervisor has got the question, and has not answered: perhaps it has done what was asked."""


def socket_path(config: Path) -> Path:
    """Returns where the supervisor of this configuration listens, whether or not one runs."""
    # Short, because a socket's path has 107 bytes on Linux and 103 on macOS, whose folder takes up half of them.
    name = hashlib.sha256(os.fsencode(_absolute(config))).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"extproc-{os.getuid()}" / f"{name}.sock"


def _absolute(config: Path) -> str:
    """Follows no link: Kubernetes swaps them, and the path stays."""
    return os.path.abspath(config)  # noqa: PTH100


def check_owner(folder: Path) -> None:
    """The folder for temporary files is open to all users: one of them could have made ours. Raises OSError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(None, "it belongs to another user, or others may read it", str(folder))


def ask(config: Path, request: ControlRequest) -> ControlReply:
    """Returns the answer of the supervisor that runs with this configuration. Waits for it. Raises Unreachable."""
    return _asked(config, request, ControlReply)


def ask_budgets(config: Path, command: BudgetCommand) -> BudgetAnswer:
    """As `ask`, about budgets. A change whose answer does not come is an answer, too: that nobody knows."""
    try:
        return _asked(config, command, BudgetAnswer)
    except Unanswered as error:
        if command.command in ("list", "audit"):
            raise
        return BudgetAnswer(problem=f"{MAYBE_DONE}: {error}", maybe_done=True)


def _asked(config: Path, request: ControlRequest | BudgetCommand, kind: type[T]) -> T:
    path, failed = socket_path(config), Unreachable
    try:
        check_owner(path.parent)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(path))
            failed = Unanswered
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as answers:
                return msgspec.json.decode(answers.readline(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        why = error.strerror or error if isinstance(error, OSError) else "no answer"
        problem = f"no gateway of this user answers that was started with {_absolute(config)} ({path}: {why})"
        raise failed(problem) from None
