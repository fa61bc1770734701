"""Refusals of the gateway's own, worded in the client's dialect."""

from extproc.errors import Rejection
from extproc.wire import Dialect, dialects


def rejection_body(dialect: Dialect, rejection: Rejection, request_id: str) -> bytes:
    return dialects.row(dialect).envelope.body(rejection, request_id)


def rejection_status(dialect: Dialect, rejection: Rejection) -> int:
    return dialects.row(dialect).envelope.status(rejection)


def rejection_event(dialect: Dialect, rejection: Rejection) -> bytes:
    """Returns the end of a stream that cannot be completed."""
    return dialects.row(dialect).error_event(rejection)
