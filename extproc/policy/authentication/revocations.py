"""Tokens of the gateway's own that no longer count, before their time is over."""

from collections.abc import Callable
from typing import Any

import msgspec


class Revoked(msgspec.Struct, tag=True):
    """All revocations that can still concern a token, sent by the supervisor whenever there is a new one."""

    until: dict[str, float]
    """`sub:SUBJECT` or `sid:SESSION`; tokens of sessions that began up to this Unix second are void."""


def of_subject(subject: str) -> str:
    return f"sub:{subject}"


def of_session(session: str) -> str:
    return f"sid:{session}"


class Revocations:
    """Those known to this process."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def replace(self, revoked: Revoked) -> None:
        self._until = revoked.until

    def check_of(self, claims: dict[str, Any]) -> Callable[[], bool]:
        """Returns what tells, each time it is called, whether a token with these claims is void by then."""
        names = of_subject(str(claims.get("sub"))), of_session(str(claims.get("sid")))
        # A refresh during a revocation issues a later token of the same session.
        began = claims.get("auth_time", claims.get("iat", 0))
        return lambda: any(began <= self._until.get(name, -1) for name in names)
