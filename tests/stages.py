"""Calls at the stages that policy brings them to, with as little in them as a test needs."""

import json
from typing import Any

from extproc.config.endpoints import Endpoint, Operation
from extproc.policy.facts import (
    ANONYMOUS,
    Admitted,
    Caller,
    Examined,
    Identified,
    LightBody,
    Located,
    Request,
)
from extproc.providers.catalogue import Resolved

GENERATE = Endpoint("e", Operation.GENERATE, "messages", "POST")
_OF_CALL = ("dialect", "endpoint", "provider")


class NoAdmission:
    """Nothing is counted."""

    def reserve_body(self, size: int) -> None:
        pass

    def release_body(self) -> None:
        pass

    def release(self) -> None:
        pass


def located(**known: Any) -> Located:
    """`known`: members of the call and of its request."""
    return Located(**_split(known))


def identified(caller: Caller = ANONYMOUS, **known: Any) -> Identified:
    return Identified(caller=caller, **_split(known))


def admitted(caller: Caller = ANONYMOUS, **known: Any) -> Admitted:
    return Admitted(caller=caller, admission=NoAdmission(), **_split({"endpoint": GENERATE, **known}))


def examined(call: Admitted, resolved: Resolved | None, members: dict[str, Any]) -> Examined:
    assert resolved is not None
    return Examined(call, light(members), resolved.name, resolved)


def light(members: dict[str, Any]) -> LightBody:
    return LightBody(json.dumps(members).encode(), members)


def _split(known: dict[str, Any]) -> dict[str, Any]:
    of_call = {name: known.pop(name) for name in _OF_CALL if name in known}
    return of_call | {"request": Request(**{"started": 0.0, **known})}
