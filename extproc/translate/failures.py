"""An upstream's answer that is no answer."""

from extproc.errors import Kind, Reason, Rejection


def truncated(message: str) -> Rejection:
    return failure(message, "truncated", Reason.TRUNCATED)


def failure(message: str, detail: str, reason: Reason = Reason.UPSTREAM) -> Rejection:
    return Rejection(kind=Kind.API, message=message, reason=reason, detail=detail, status=502)
