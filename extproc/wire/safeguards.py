"""Verdicts that Claude Code asks for in auto mode: the request's `safeguards`, the answer's `safeguard_results`.

The client names a safeguard of type `dangerous_tool_use`, and reads at the answer's end, for each `tool_use` block,
whether that call may run. The answer here is Messages as the client gets it, whichever provider it came from.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from extproc.events import Verdict, VerdictOutcome
from extproc.wire import untrusted
from extproc.wire.sse import Frames, fields, split

KIND = "dangerous_tool_use"
MEMBER = "safeguard_results"
PROVIDER = "provider"
WARNING = "dropped:safeguards"
"""What a translator says that does not know the field."""
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
TURNS = 8
"""Messages of the conversation that a judge may read, the last ones."""
MAX_TURN = 256 * 1024
"""Bytes of one of them; a longer one is left out."""
MAX_CALLS = 1000
_NEVER = -1
_ESCAPED = b"\\u00"
_SIGNS = (_ESCAPED, b'"tool_use"', b'"message_delta"')
_LATE = (_ESCAPED, b'"content_block_start"', b'"safeguard_results"')

Json = dict[str, Any]


class Question(msgspec.Struct, frozen=True):
    """What a client wants to know, and what it said about it."""

    cwd: str
    turns: tuple[bytes, ...]
    """The last messages of the conversation as they came, oldest first; an empty one was too long."""


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    input: Json | None
    """None: its arguments are no JSON object."""


class _Safeguard(msgspec.Struct):
    type: Any = None
    classifier_context: Any = None


class _Request(msgspec.Struct):
    safeguards: list[_Safeguard] = []
    messages: list[msgspec.Raw] = []


class _Start(msgspec.Struct):
    type: str = ""
    index: int = _NEVER
    content_block: Any = None


class _Piece(msgspec.Struct):
    index: int = _NEVER
    delta: Any = None


class _Block(msgspec.Struct):
    type: Any = None
    id: Any = None
    name: Any = None
    input: Any = None


_request = untrusted.decoder(_Request)
_start = untrusted.decoder(_Start)
_piece = untrusted.decoder(_Piece)
_blocks = untrusted.decoder(list[_Block])
_members = untrusted.decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def read_question(body: bytes, *, with_turns: bool = True) -> Question | None:
    """What a Messages request asks to be judged; None: nothing. `with_turns`: with the end of its conversation."""
    if b'"safeguards"' not in body:
        return None
    try:
        request = _request.decode(body)
    except _UNREADABLE:
        return None
    asked = next((one for one in request.safeguards if one.type == KIND), None)
    if asked is None:
        return None
    context = asked.classifier_context if isinstance(asked.classifier_context, dict) else {}
    cwd = context.get("live_cwd")
    # Copies: a part of the body would keep all of it in memory until the answer's end.
    last = [bytes(turn) for turn in request.messages[-TURNS:]] if with_turns else []
    turns = tuple(turn if len(turn) <= MAX_TURN else b"" for turn in last)
    return Question(cwd if isinstance(cwd, str) else "", turns)


class HeldAnswer:
    """Lets a Messages answer pass, stream or JSON, and holds its end back if it calls tools.

    A stream's end begins with the `message_delta` that says why it stopped; of JSON it is all.
    """

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        """Known once the end is held."""
        self.provided: dict[str, Json] = {}
        """By the calls' ids, what the provider's own safeguard says of them."""
        self._frames = Frames()
        self._open: dict[int, tuple[_Block, list[str]]] = {}
        self._odd = False
        """Some call, or a piece of its arguments, may be read in another way by the client."""
        self._held: list[bytes] = []
        self._over = False
        """Nothing more has to be looked at."""
        self._begun = False
        self._is_json = False
        """What is held is JSON as a whole."""

    @property
    def held(self) -> bool:
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """What may go out of it at once."""
        if not data:
            return data
        if self._held:
            self._held.append(data)
            return b""
        if self._over:  # what follows JSON is no part of it, and to a reader of streams it may be events
            return b"" if self._is_json else _after_the_end(self._frames.feed(data))
        if not self._begun:
            self._begun = True
            if _is_object(data):
                return self._hold_json(data)
        return self._pass_events(self._frames.feed(data))

    def rest(self) -> bytes:
        """What is left at the end of a body whose end is not held: part of an event."""
        if self._held:
            return b""
        return _after_the_end(self._frames.rest()) if self._over else self._frames.rest()

    def give_up(self) -> bytes:
        """What is held, as it came, but for verdicts in it."""
        held, self._held, self._over = b"".join(self._held) + self._frames.rest(), [], True
        return held if self._is_json else _after_the_end(held)

    def release(self, verdicts: Mapping[str, Verdict]) -> bytes:
        """What is held, with these verdicts, by the calls' ids. The beginning of a next event stays until its end is
        there."""
        end, *rest = self._held
        self._held, self._over = [], True
        if self._is_json:
            return _with_results(end, verdicts, self.provided)
        return self._end_of_stream(end, verdicts) + _after_the_end(self._frames.feed(b"".join(rest)))

    def _pass_events(self, whole: bytes) -> bytes:
        if not self._open and not any(sign in whole for sign in _SIGNS):
            return whole
        events = list(split(whole))
        for at, event in enumerate(events):
            if self._is_end(event):
                self._held = [event, *events[at + 1 :], self._frames.rest()]
                return b"".join(events[:at])
        return whole

    def _is_end(self, event: bytes) -> bool:
        event = _plain(event)
        if b"content_block_start" in event and b'"tool_use"' in event:
            self._begin_call(fields(event)[1])
        # A call's arguments come as text in pieces, and are JSON only as a whole:
        # https://platform.claude.com/docs/en/build-with-claude/streaming#input-json-delta.
        elif self._open and b"input_json_delta" in event:
            self._add_arguments(fields(event)[1])
        elif b'"message_delta"' in event:
            calls = [_call(block, "".join(pieces)) for block, pieces in self._open.values()]
            self.calls = [ToolCall(call.id, call.name, None) for call in calls] if self._odd else calls
            self.provided = _provided(_member(fields(event)[1], "delta"))
            # A verdict on a call that is still to come is nobody's here.
            return bool(self.calls or self.provided)
        return False

    def _begin_call(self, data: bytes) -> None:
        try:
            event = _start.decode(data)
            block = msgspec.convert(event.content_block, _Block)
        except _UNREADABLE:
            self._odd = True
            return
        if block.type != "tool_use":
            return
        # Two blocks of one index: nobody here knows which of them the client would run.
        if event.index in self._open or len(self._open) >= MAX_CALLS:
            self._odd = True
        else:
            self._open[event.index] = (block, [])

    def _add_arguments(self, data: bytes) -> None:
        try:
            piece = _piece.decode(data)
        except _UNREADABLE:
            self._odd = True
            return
        text = piece.delta.get("partial_json") if isinstance(piece.delta, dict) else None
        if isinstance(text, str) and piece.index in self._open:
            self._open[piece.index][1].append(text)

    def _hold_json(self, body: bytes) -> bytes:
        try:
            blocks = _blocks.decode(_member(body, "content") or b"[]")
        except _UNREADABLE:
            blocks = []
        calls = [_call(block, "") for block in blocks if block.type == "tool_use"]
        self.calls = calls if len(calls) <= MAX_CALLS else [ToolCall(call.id, call.name, None) for call in calls]
        self.provided = _provided(body)
        self._is_json = bool(self.calls or self.provided)
        self._held = [body] if self._is_json else []
        return b"" if self._held else body

    def _end_of_stream(self, event: bytes, verdicts: Mapping[str, Verdict]) -> bytes:
        try:
            members = _members.decode(fields(event)[1])
            delta = _with_results(bytes(members.get("delta", b"{}")), verdicts, self.provided)
        except _UNREADABLE:
            return event
        data = msgspec.json.encode({**members, "delta": msgspec.Raw(delta)})
        # Written in one line, whatever form it came in.
        return b"event: message_delta\ndata: " + data + b"\n\n"


def _is_object(data: bytes) -> bool:
    try:
        _members.decode(data)
    except _UNREADABLE:
        return False
    return True


def _plain(event: bytes) -> bytes:
    """The event with no ASCII character escaped: `"tool\\u005fuse"` is `"tool_use"` to a client."""
    if _ESCAPED not in event:
        return event
    try:
        return b"data: " + msgspec.json.encode(untrusted.decode(fields(event)[1])) + b"\n\n"
    except _UNREADABLE:
        return event


def _after_the_end(whole: bytes) -> bytes:
    """What may follow the event with the verdicts: no further call and no further verdict."""
    if not any(sign in whole for sign in _LATE):
        return whole
    return b"".join(event for event in split(whole) if not any(sign in _plain(event) for sign in _LATE[1:]))


def _call(block: _Block, arguments: str) -> ToolCall:
    """`arguments`: of a stream, where the block itself comes without."""
    found = block.input
    if arguments:
        try:
            found = untrusted.decode(arguments)
        except _UNREADABLE:
            found = None
    name, identifier = block.name, block.id
    return ToolCall(
        identifier if isinstance(identifier, str) else "",
        name if isinstance(name, str) else "",
        found if isinstance(found, dict) else None,
    )


def _member(data: bytes, name: str) -> bytes:
    """One member of a JSON object as it stands there; empty where there is none."""
    try:
        return bytes(_members.decode(data).get(name, b""))
    except _UNREADABLE:
        return b""


def _results(holder: bytes) -> list[Json]:
    """What `safeguard_results` lists in this object."""
    try:
        listed = untrusted.decode(_member(holder, MEMBER) or b"[]")
    except _UNREADABLE:
        return []
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _provided(holder: bytes) -> dict[str, Json]:
    """What the provider itself says of each call."""
    for result in _results(holder):
        match result:
            case {"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": dict(uses)}}:
                return {call: found for call, found in uses.items() if isinstance(found, dict)}
            case _:
                pass
    return {}


def provided_verdict(found: Json | None) -> Verdict | None:
    """The verdict in what a provider says of a call; None: it has not evaluated the call."""
    match found:
        case {"type": "evaluated", "outcome": "not_flagged"}:
            return Verdict(VerdictOutcome.ALLOW, "", PROVIDER)
        case {"type": "evaluated", "outcome": "flagged"}:
            return Verdict(VerdictOutcome.DENY, "", PROVIDER)
        case _:
            return None


def _with_results(holder: bytes, verdicts: Mapping[str, Verdict], provided: Mapping[str, Json]) -> bytes:
    """The object with one result of our kind in it. A provider's verdict goes out in the provider's words."""
    members = _members.decode(holder)
    uses = {
        call: provided[call] if verdict.by == PROVIDER and call in provided else _written(verdict)
        for call, verdict in verdicts.items()
    }
    ours = {"type": KIND, "status": {"type": "available", "tool_uses": uses}}
    others: Sequence[Json] = [one for one in _results(holder) if one.get("type") != KIND]
    return msgspec.json.encode({**members, MEMBER: [*others, ours]})


def _written(verdict: Verdict) -> Json:
    match verdict.outcome:
        case VerdictOutcome.ALLOW:
            return {"type": "evaluated", "outcome": "not_flagged"}
        case VerdictOutcome.DENY:
            return {"type": "evaluated", "outcome": "flagged", "explanation": verdict.text}
        case VerdictOutcome.UNAVAILABLE:
            return {"type": "unavailable", "reason": verdict.text or "error"}
