"""`extproc budget --gateway URL`: carries a command out with the gateway's API (`web/admin.py`)."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from extproc.cli.arguments import TOKEN_VARIABLE
from extproc.client import connection, session
from extproc.client.connection import ClientError, Reply
from extproc.printable import printable, show
from extproc.transport.control import BudgetAnswer, BudgetChange, BudgetCommand, BudgetLine

T = TypeVar("T")
_PATH = "/admin/budgets"


class _Grant(msgspec.Struct):
    amount: float
    until: datetime


class _Limit(msgspec.Struct):
    """A limit as the API shows it."""

    budget: str
    key: str
    measure: str
    used: float
    reserved: float
    limit: float
    configured: float
    resets_at: datetime | None = None
    set_to: float | None = None
    set_until: datetime | None = None
    grants: list[_Grant] = []

    def line(self) -> BudgetLine:
        return BudgetLine(
            self.budget,
            self.key,
            self.measure,
            self.used,
            self.reserved,
            self.limit,
            self.configured,
            _seconds(self.resets_at),
            is_set=self.set_to is not None,
            set_until=_seconds(self.set_until),
            grants=[(one.amount, _seconds(one.until)) for one in self.grants],
            set_to=self.set_to,
        )


class _Entry(msgspec.Struct):
    """An entry of the audit as the API shows it."""

    at: datetime
    by: str
    via: Literal["api", "command"]
    action: Literal["set", "grant", "reset"]
    budget: str
    key: str
    measure: str
    old: float
    new: float
    until: datetime | None = None
    issuer: str = ""

    def change(self) -> BudgetChange:
        what = self.by, self.via, self.action, self.budget, self.key, self.measure, self.old, self.new
        return BudgetChange(_seconds(self.at), *what, _seconds(self.until), self.issuer)


def credential(gateway: str, token_file: Path | None) -> str:
    """Returns a token or a static key: of the file (`-`: standard input), of the environment, or of the kept sign-in.
    Raises ClientError."""
    if token_file is not None:
        try:
            text = sys.stdin.read() if str(token_file) == "-" else token_file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ClientError(f"cannot read {token_file}: {printable(str(error))}") from None
        return _one_line(text, str(token_file))
    if found := os.environ.get(TOKEN_VARIABLE, "").strip():
        return _one_line(found, f"${TOKEN_VARIABLE}")
    return session.fresh_token(gateway)


def _one_line(text: str, place: str) -> str:
    """Never quotes what is there."""
    token = text.strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        raise ClientError(f"{place} holds no token")
    return token


def ask(gateway: str, token: str, command: BudgetCommand) -> BudgetAnswer:
    """Raises ClientError."""
    match command.command:
        case "list":
            found = _call("GET", gateway + _PATH, token)
            limits = _read(found["data"], list[_Limit])
            if found.get("has_more"):
                show(f"only the first {len(limits)} limits are shown", sys.stderr)
            return BudgetAnswer([one.line() for one in limits])
        case "audit":
            found = _call("GET", f"{gateway}{_PATH}/audit?limit={command.entries}", token)
            changes = [one.change() for one in _read(found["data"], list[_Entry])]
            return BudgetAnswer(changes=changes, has_more=found.get("has_more") is True)
        case _:
            _call("POST", gateway + _PATH, token, _body(command))
            return BudgetAnswer()


def _body(command: BudgetCommand) -> dict[str, Any]:
    until = datetime.fromtimestamp(command.until, UTC).isoformat() if command.until else None
    one = {"command": command.command, "budget": command.name, "key": command.key, "amount": command.amount}
    return one | {"measure": command.measure, "until": until}


def _call(method: str, url: str, token: str, body: dict[str, Any] | None = None) -> Mapping[str, Any]:
    """Returns the answer's members, of which `data` is a list."""
    reply = connection.call(method, url, token, body)
    if reply.status != 200 or not isinstance(reply.fields.get("data"), list):
        raise ClientError(_problem(reply))
    return reply.fields


def _problem(reply: Reply) -> str:
    error, request_id = reply.fields.get("error"), reply.fields.get("request_id")
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str):
        return f"HTTP {reply.status}: this is no gateway with `admin` in its configuration"
    trace = f" (request-id {printable(request_id)})" if isinstance(request_id, str) and request_id else ""
    return f"HTTP {reply.status}: {printable(message)}{trace}"


def _read(data: list[Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError:
        raise ClientError("the gateway's answer is of another version") from None


def _seconds(time: datetime | None) -> int:
    """0: there is none."""
    return int(time.timestamp()) if time is not None else 0
