"""`extproc provider`: shows which providers the running gateway leaves out, and takes one out or back by hand."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from extproc.printable import show
from extproc.providers.availability import Cause, ProviderState
from extproc.transport import control
from extproc.transport.control import ControlRequest

_REASONS: dict[Cause, str] = {"failures": "failures in a row", "retry_after": "retry-after"}
_DRAINED = """\
{name} is drained: models with other providers no longer ask it. Calls in progress run to their end.
It stays so until `extproc provider resume {name}`, or until the gateway is started again."""


class Unusable(Exception):
    """`str()` says why nothing was done."""


def run(config: Path, command: Literal["list", "drain", "resume"], name: str | None) -> int:
    """Returns the exit status. Raises Unusable, control.Unreachable."""
    if (name is None) != (command == "list"):
        raise Unusable(f"extproc provider {command}: " + ("expected a NAME" if name is None else "takes no NAME"))
    reply = control.ask(config, ControlRequest(command, name or ""))
    if not reply.known:
        raise Unusable(f"there is no provider {name!r}; the gateway has: {', '.join(reply.providers)}")
    if command == "list":
        width = max(map(len, reply.providers), default=0)
        show("\n".join(f"{one:{width}}  {_described(state)}" for one, state in reply.providers.items()))
    else:
        show(_DRAINED.format(name=name) if command == "drain" else f"{name} is available")
    return 0


def _described(state: ProviderState) -> str:
    if state.until is None or state.reason is None:
        return state.state
    until = datetime.fromtimestamp(state.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{state.state} until {until} ({_REASONS[state.reason]})"
