"""The half that asks providers which speak the toy dialect."""

from typing import Any

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.answer_body import SseReader
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    FinishReason,
    TextDelta,
    TextEnded,
    UsageReported,
)
from extproc.translate.checked import Warnings
from extproc.translate.conversation import Conversation, SystemTurn, Text, Tool, ToolCall, Turn, UserTurn
from extproc.translate.pair import Json, Target, Usage
from extproc.translate.provider_error import failure, truncated
from extproc.translate.translated import ProviderSide, TranslatedRequest, WrittenRequest
from extproc.wire.lenient import Undecodable, loads

REASON: dict[str, FinishReason] = {"done": "stop", "call": "tool_calls", "cut": "length", "no": "refusal"}


def write_request(conversation: Conversation, target: Target, warnings: Warnings) -> WrittenRequest:
    """Raises checked.Refused."""
    lines = [f"* {part.text}" for part in conversation.system]
    for turn in conversation.turns:
        lines += _lines(turn, warnings)
    body: Json = {"model": target.model, "lines": lines, "stream": conversation.shape.stream}
    if conversation.max_tokens is not None:
        body["most"] = conversation.max_tokens.value
    tools = [tool for tool in conversation.tools if isinstance(tool, Tool)]
    if tools:
        body["can"] = {tool.name: {"about": tool.description, "takes": tool.parameters or {}} for tool in tools}
    return WrittenRequest(path="/say", body=msgspec.json.encode(body), names={})


def _lines(turn: Turn, warnings: Warnings) -> list[str]:
    found = []
    if isinstance(turn, UserTurn):
        for result in turn.results:
            text = " ".join(part.text for part in result.parts if isinstance(part, Text))
            found.append(f"= {result.call_id} {text}")
    mark = "*" if isinstance(turn, SystemTurn) else ">" if isinstance(turn, UserTurn) else "<"
    for part in turn.parts:
        match part:
            case Text(text):
                found.append(f"{mark} {text}")
            case ToolCall(id, name, arguments):
                found.append(f"! {id} {name} {arguments}")
            case _:
                warnings.add("dropped", part.path)
    return found


def read_whole(body: bytes, request: TranslatedRequest) -> list[AnswerEvent]:
    try:
        answer = loads(body)
        lines = answer["lines"]
    except (Undecodable, KeyError, TypeError):
        return [AnswerFailed(failure("the upstream's answer cannot be read", "unreadable_answer"))]
    events: list[AnswerEvent] = [AnswerStarted("", request.model)]
    for line in lines:
        mark, _, rest = line.partition(" ")
        if mark == "<":
            events += [TextDelta(rest), TextEnded()]
        else:
            call_id, name, arguments = rest.split(" ", 2)
            events += [CallStarted(call_id, name), ArgumentsDelta(arguments), CallEnded()]
    return [*events, *_end(answer)]


def _end(answer: Json) -> list[AnswerEvent]:
    read, written = answer["spent"]
    usage = Usage(input_tokens=read, output_tokens=written)
    return [UsageReported(usage), AnswerFinished(REASON[answer["why"]])]


class Reader(SseReader):
    def __init__(self, request: TranslatedRequest) -> None:
        super().__init__(request.profile.max_event_bytes)
        self._request = request
        self._started = False
        self._open = ""

    def truncated(self) -> list[AnswerEvent]:
        return [AnswerFailed(truncated("the upstream's answer broke off"))]

    def rejection_of(self, value: Any) -> Rejection:
        return _failure(value)

    def read_event(self, data: bytes, mark: str) -> list[AnswerEvent]:
        found = loads(data)
        if mark == "oops":
            return [AnswerFailed(_failure(found))]
        begun: list[AnswerEvent] = [] if self._started else [AnswerStarted("", self._request.model)]
        self._started = True
        return begun + self._piece(mark, found)

    def _piece(self, mark: str, found: Any) -> list[AnswerEvent]:
        if mark == "{":
            return [ArgumentsDelta(found)]
        if mark == self._open == "<":
            return [TextDelta(found)]
        ended: list[AnswerEvent] = [CallEnded()] if self._open == "!" else [TextEnded()] if self._open else []
        self._open = mark
        match mark:
            case "<":
                return [*ended, TextDelta(found)]
            case "!":
                call_id, name = found.split(" ")
                return [*ended, CallStarted(call_id, name)]
            case _:
                return [*ended, *_end(found)]


def _failure(value: Any) -> Rejection:
    found = value if isinstance(value, dict) else {}
    return Rejection(
        kind=Kind(found.get("kind", Kind.API)),
        message=found.get("oops", "the upstream reported an error"),
        reason=Reason.UPSTREAM,
        detail="upstream_error",
    )


def read_error(status: int, body: bytes, profile: Profile) -> Rejection:
    try:
        return _failure(loads(body))
    except Undecodable:
        return failure("the upstream refused the call", "upstream_error")


PROVIDER = ProviderSide(write_request=write_request, reader=Reader, read_whole=read_whole, read_error=read_error)
