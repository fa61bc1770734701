"""Which tool call a fragment of a Chat answer belongs to (docs/mapping.md 3.5)."""

from typing import Any

import msgspec

from extproc.translate.answer_events import Warned
from extproc.translate.dialects.chat.reasoning import ReasoningReader, call_signature
from extproc.translate.names import client_id, made_id
from extproc.translate.part_queue import CallPart, PartQueue, arguments_text
from extproc.translate.translated import TranslatedRequest
from extproc.wire.chat import AnswerMessage, ToolCall


class ChatCallPart(CallPart):
    """A call whose name may come in pieces: its end shows by the arguments."""

    def __init__(self, calls: "Calls") -> None:
        super().__init__()
        self.upstream_id = ""
        self._calls = calls

    def may_start(self) -> bool:
        return bool(self.name and self._arguments)

    def _start(self) -> list[Any]:
        if not self.is_started:
            self._calls.settle(self)
        return super()._start()

    @property
    def ended(self) -> bool:
        return self.is_complete

    @ended.setter
    def ended(self, value: bool) -> None:
        """It has ended when its arguments are whole."""


class Calls:
    def __init__(self, request: TranslatedRequest, queue: PartQueue, reasoning: ReasoningReader) -> None:
        self.is_whole = False
        """Every item of `tool_calls` is a call of its own."""
        self._request = request
        self._queue = queue
        self._reasoning = reasoning
        self._by_key: dict[int | str, ChatCallPart] = {}
        self._by_id: dict[str, ChatCallPart] = {}
        self._last: ChatCallPart | None = None
        self._client_ids: set[str] = set()
        self._made_ids = 0

    def add(self, message: AnswerMessage) -> None:
        for n, call in enumerate(message.tool_calls or ()):
            self._add_one(n if self.is_whole else call.index, call)
        if message.function_call is not None:
            self._add_one("fc", ToolCall(function=message.function_call))

    def expect(self, calls: list[ToolCall]) -> None:
        """Called for a whole answer before its text: signatures of the calls go first."""
        for call in calls:
            if signature := call_signature(call):
                call.id = call.id or self._make_id()
                self._reasoning.sign(call.id, signature)
            call.extra_content = None

    def settle(self, part: ChatCallPart) -> None:
        """Its id and name for the client, when the call begins."""
        wanted = client_id(part.upstream_id) if part.upstream_id else self._make_id()
        unique, n = wanted, 1
        # Some servers give one id to several calls of an answer.
        while unique in self._client_ids:
            n += 1
            unique = f"{wanted}_{n}"
        self._client_ids.add(unique)
        part.id = unique
        part.name = self._request.names.get(part.name, part.name)
        part.kind = self._request.kinds.get(part.name, "function")

    def _add_one(self, key: int | str | None, fragment: ToolCall) -> None:
        arguments = _arguments(fragment)
        part, is_new = self._find(key, fragment, arguments)
        if signature := call_signature(fragment):
            part.upstream_id = part.upstream_id or self._make_id()
            self._reasoning.sign(part.upstream_id, signature)
        if is_new:
            self._queue.push(part)
        size = part.add(arguments)
        if size and part.is_closed:
            self._queue.out.append(Warned(f"invalid_tool_arguments:{part.id}"))
        self._queue.advance(size)

    def _find(self, key: int | str | None, fragment: ToolCall, arguments: str) -> tuple[ChatCallPart, bool]:
        call_id, name = fragment.id or "", _name(fragment)
        part = self._known(key, call_id, name, arguments)
        is_new = part is None
        if part is None:
            part = ChatCallPart(self)
        if call_id and not part.upstream_id and not part.is_started:
            part.upstream_id = call_id
        part.identify(None, name)
        if key is not None:
            self._by_key[key] = part
        if call_id:
            self._by_id[call_id] = part
        self._last = part
        return part, is_new

    def _known(self, key: int | str | None, call_id: str, name: str, arguments: str) -> ChatCallPart | None:
        # OpenAI numbers the calls of an answer (https://platform.openai.com/docs/api-reference/chat-streaming); some
        # servers leave the number out.
        if key is not None:
            part = self._by_key.get(key)
            return None if part is None or _is_another(part, call_id, name, arguments) else part
        if call_id in self._by_id:
            return self._by_id[call_id]
        return None if call_id or name else self._last

    def _make_id(self) -> str:
        self._made_ids += 1
        return made_id(self._request.shape.call_prefix, self._request.nonce, self._made_ids)


def _is_another(part: ChatCallPart, call_id: str, name: str, arguments: str) -> bool:
    """Some servers put every call on index 0: a new one shows by its id, or by arguments after complete ones."""
    if not name or (call_id and call_id == part.upstream_id):
        return False
    return bool(call_id and part.upstream_id) or (part.is_complete and bool(arguments.strip()))


def _is_custom(call: ToolCall) -> bool:
    """`type` decides what a call is, then which member is filled: an empty `custom` beside a `function` is nothing."""
    if call.type in ("function", "custom"):
        return call.type == "custom" and call.custom is not None
    return call.custom is not None and call.function is None


def _name(call: ToolCall) -> str:
    if _is_custom(call):
        return (call.custom and call.custom.name) or ""
    return (call.function and call.function.name) or ""


def _arguments(call: ToolCall) -> str:
    """JSON text. A custom call's free text becomes the one member of an object, as it was declared."""
    if _is_custom(call):
        text = (call.custom and call.custom.input) or ""
        return msgspec.json.encode({"input": text}).decode() if text else ""
    return arguments_text(call.function.arguments) if call.function is not None else ""
