"""Refusals of the gateway's own, worded in the client's dialect."""

from extproc.errors import Rejection
from extproc.wire import chat, messages, response_events


def messages_rejection(rejection: Rejection, request_id: str) -> bytes:
    return messages.from_rejection(rejection, request_id)


def chat_rejection(rejection: Rejection, request_id: str) -> bytes:  # noqa: ARG001 - OpenAI names the request in a header
    return chat.from_rejection(rejection)


_BODIES = {"messages": messages_rejection, "chat": chat_rejection, "responses": chat_rejection}


def rejection_body(dialect: str, rejection: Rejection, request_id: str) -> bytes:
    """A call that no dialect could be found for gets the Messages envelope."""
    return _BODIES.get(dialect, messages_rejection)(rejection, request_id)


def rejection_status(dialect: str, rejection: Rejection) -> int:
    """OpenAI's clients know neither 402 nor 529."""
    return chat.status(rejection) if dialect in {"chat", "responses"} else rejection.http_status


def rejection_event(dialect: str, rejection: Rejection) -> bytes:
    """The end of a stream that cannot be completed."""
    if dialect == "responses":
        return response_events.failed(rejection, 0)
    if dialect == "chat":
        return b"data: %b\n\n" % chat.from_rejection(rejection)
    return messages.error_event(rejection.kind, rejection.message)
