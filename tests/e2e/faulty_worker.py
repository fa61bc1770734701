"""A worker that goes wrong at one message of a call: `faulty_worker.py CONFIG ADDRESS LEAVE`.

At an attempt of a call it does so where the model's name says so, `PLAYS.FAULT.POINT.NUMBER.REST`; at the call's
admission where a header does, `FAULT.POINT`."""

# ruff: noqa: SLF001 - it breaks what nobody may touch

import sys
from collections.abc import Callable
from typing import Any

from extproc import pb
from extproc.envoy.attributes import CLUSTER
from extproc.gateway.handover import HANDOVER, decoded
from extproc.transport import messages, service
from extproc.transport.calls import Status
from extproc.transport.worker import main

HEADER = "x-fault"
POINTS = ("request_headers", "request_body", "response_headers", "response_body")
_take = service.Stream._take


def _closes(stream: Any, request: pb.ProcessingRequest) -> None:
    """Cleanly: Envoy takes it for consent."""
    stream._call.end()


def _aborts(stream: Any, request: pb.ProcessingRequest) -> None:
    stream._call.end(Status.INTERNAL, "on purpose")


def _is_cut(stream: Any, request: pb.ProcessingRequest) -> None:
    """The connection with all its calls, as when a worker is killed."""
    stream._call._peer.abort()


def _hangs(stream: Any, request: pb.ProcessingRequest) -> None:
    pass


def _writes_garbage(stream: Any, request: pb.ProcessingRequest) -> None:
    stream._call.write(b"\xff\xff garbage")


def _has_a_bug(stream: Any, request: pb.ProcessingRequest) -> None:
    try:
        raise RuntimeError("sk-quoted-by-a-bug")
    except RuntimeError as error:
        stream._carry_out(stream._failed(error), request)


FAULTS: dict[str, Callable[[Any, pb.ProcessingRequest], None]] = {
    "closes": _closes,
    "aborts": _aborts,
    "cut": _is_cut,
    "hangs": _hangs,
    "garbage": _writes_garbage,
    "bug": _has_a_bug,
}


def _wanted(stream: Any, request: pb.ProcessingRequest) -> str:
    """Where the call wants a fault, and which: `FAULT.POINT`, for this stream of it."""
    if not request.HasField("request_headers"):
        return str(getattr(stream, "wanted", ""))
    if not messages._attribute(request, CLUSTER):
        return messages._headers(request.request_headers).get(HEADER)
    event = messages.to_event(request)
    _, _, told = decoded(messages._headers(request.request_headers).get(HANDOVER)).asked.partition(".")
    fault, point, number, _ = told.split(".", 3)
    return f"{fault}.{point}" if int(number) == getattr(event, "number", 0) else ""


def _failing_take(stream: Any, request: pb.ProcessingRequest) -> None:
    stream.wanted = _wanted(stream, request)
    fault, _, point = stream.wanted.partition(".")
    if point and point == request.WhichOneof("request"):
        FAULTS[fault](stream, request)
    else:
        _take(stream, request)


if __name__ == "__main__":
    service.Stream._take = _failing_take  # type: ignore[method-assign,assignment]
    sys.exit(main(sys.argv[1:]))
