"""The half that serves clients of the toy dialect."""

import json
from typing import Any

import msgspec

from extproc.translate import checked
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    Keepalive,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    UsageReported,
)
from extproc.translate.checked import Warnings
from extproc.translate.conversation import AnswerShape, Conversation, Setting, Text, Tool, ToolCall, ToolResult
from extproc.translate.pair import Json, Target
from extproc.translate.response_headers import for_openai_client
from extproc.translate.translated import ClientSide, TranslatedRequest
from extproc.translate.turns import TurnBuilder

WHY = {"stop": "done", "tool_calls": "call", "length": "cut"}


def read_request(body: Json, to: Target, warnings: Warnings) -> Conversation:
    """Raises checked.Refused."""
    turns = TurnBuilder(repair_interrupted=to.profile.repair_interrupted)
    system = []
    for n, line in enumerate(checked.sequence(body, "lines", "")):
        path = f"lines.{n}"
        if not isinstance(line, str) or line[1:2] != " ":
            raise checked.refused(path, "a line begins with a mark and a blank")
        mark, rest = line[0], line[2:]
        match mark:
            case "*":
                system.append(Text(rest, path))
            case ">":
                turns.user((Text(rest, path),), path)
            case "<":
                turns.assistant((Text(rest, path),), path)
            case "!":
                call_id, _, call = rest.partition(" ")
                name, _, arguments = call.partition(" ")
                turns.assistant((ToolCall(call_id, name, arguments or "{}", path),), path)
            case "=":
                call_id, _, text = rest.partition(" ")
                turns.result(ToolResult(call_id, (Text(text, path),), path), path)
            case _:
                raise checked.refused(path, f"no line begins with {mark!r}")
    warnings.unknown(body, frozenset({"model", "lines", "most", "stream", "can"}), "")
    most = checked.integer(body, "most", "") if body.get("most") is not None else None
    return Conversation(
        model=checked.text(body, "model", ""),
        turns=turns.end(),
        system=tuple(system),
        tools=tuple(_tools(checked.optional_mapping(body, "can", ""))),
        max_tokens=None if most is None else Setting(most, "most"),
        shape=AnswerShape(stream=checked.flag(body, "stream", "")),
    )


def _tools(can: Json) -> list[Tool]:
    return [
        Tool(
            name=name,
            path=f"can.{name}",
            description=checked.optional_text(tool, "about", f"can.{name}") or "",
            parameters=checked.optional_mapping(tool, "takes", f"can.{name}") or None,
        )
        for name, tool in can.items()
    ]


class Writer:
    """An AnswerWriter: events if the client streams, else one object."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.warnings: list[str] = []
        self.finish_reason = ""
        self._streams = request.stream
        self._out = bytearray()
        self._lines: list[str] = []
        self._spent = [0, 0]
        self._open = ""

    def take(self) -> bytes:
        out, self._out = bytes(self._out), bytearray()
        return out

    def ping(self) -> bytes:
        return b": here\n\n" if self._streams else b""

    def write(self, event: AnswerEvent) -> None:
        match event:
            case TextDelta(text) | RefusalDelta(text):
                self._add("<", text)
            case ArgumentsDelta(text):
                self._add("{", text)
            case CallStarted(id, name):
                self._add("!", f"{id} {name}")
            case CallEnded(cut) if cut and not self._streams:
                self._lines.pop()
            case ReasoningDelta() if "dropped:reasoning" not in self.warnings:
                self.warnings.append("dropped:reasoning")
            case UsageReported(usage):
                read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
                self._spent = [read, usage.output_tokens]
            case Keepalive():
                self._out += self.ping()
            case AnswerFinished(reason):
                self.finish_reason = WHY.get(reason, "no")
                self._finish()
            case AnswerFailed(rejection) if self._streams:
                self._event("oops", {"oops": rejection.message, "kind": rejection.kind})
            case _:
                pass

    def _add(self, mark: str, text: str) -> None:
        if self._streams:
            self._event(mark, text)
        elif mark == self._open and mark == "<":
            self._lines[-1] += text
        elif mark == "{":
            self._lines[-1] += text if self._open == "{" else f" {text}"
        else:
            self._lines.append(f"{mark} {text}")
        self._open = mark

    def _finish(self) -> None:
        found = {"why": self.finish_reason, "spent": self._spent}
        if self._streams:
            self._event(".", found)
        else:
            self._out += json.dumps({"lines": self._lines, **found}).encode()

    def _event(self, mark: str, data: Any) -> None:
        self._out += b"event: %b\ndata: %b\n\n" % (mark.encode(), msgspec.json.encode(data))


CLIENT = ClientSide(
    members={"messages": "lines", "input": "lines", "max_tokens": "most", "max_output_tokens": "most"},
    read_request=read_request,
    writer=Writer,
    client_headers=for_openai_client,
)
