"""The turns of a conversation as input items of a Responses request (docs/mapping.md 6.2, 6.6)."""

from collections.abc import Iterable, Sequence

from extproc.providers.profiles import Profile
from extproc.translate import names, openai_content
from extproc.translate.checked import Json, Warnings, refused, unsupported
from extproc.translate.conversation import (
    OPENAI_RESPONSES,
    AssistantTurn,
    Audio,
    Base64Data,
    CallKind,
    Compaction,
    Conversation,
    Document,
    FileId,
    Image,
    PlainText,
    Reasoning,
    Refusal,
    SystemTurn,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    UserPart,
    UserTurn,
    WebAddress,
)
from extproc.translate.names import ToolNames
from extproc.translate.openai_content import data_url, is_text

_CALL_TYPES: dict[CallKind, str] = {"function": "function_call", "custom": "custom_tool_call", "shell": "function_call"}


class InputWriter:
    def __init__(self, conversation: Conversation, profile: Profile, tool_names: ToolNames, warnings: Warnings) -> None:
        self.hoisted: list[Text] = []
        """Later instructions that must stand before the conversation."""
        self.prefill = ""
        """Text that the answer may repeat."""
        self._conversation = conversation
        self._profile = profile
        self._names = tool_names
        self._warnings = warnings
        self._is_unseen = False
        """The model has not answered yet what is being written."""

    def items(self) -> list[Json]:
        """Raises Refused."""
        turns, self.hoisted = openai_content.with_placed_instructions(self._conversation, self._profile, self._warnings)
        items: list[Json] = []
        group: Sequence[Turn] = ()
        for group, self._is_unseen in openai_content.grouped(turns):
            items += self._group(group)
        if not items:
            raise refused("messages", "at least one message with content is required")
        if self._conversation.continues_last_turn:
            self._continue(items, group)
        openai_content.keep_last_breakpoints([part for item in items for part in _parts(item)])
        return items

    def _group(self, group: Sequence[Turn]) -> list[Json]:
        items: list[Json] = []
        assistant: list[AssistantTurn] = []
        for turn in group:
            match turn:
                case SystemTurn(parts):
                    items.append(_message(self._profile.system_role, [self._text(part) for part in parts]))
                case UserTurn():
                    items += self._user(turn)
                case AssistantTurn():
                    assistant.append(turn)
        return [*items, *self._assistant(assistant)]

    def _continue(self, items: list[Json], last: Sequence[Turn]) -> None:
        """The model shall go on with its own last words, as far as the provider can."""
        match self._profile.prefill:
            case "append_user":
                self._warnings.add("emulated", "prefill", openai_content.NO_PREFILL)
                items.append(_message("user", [{"type": "input_text", "text": "Continue."}]))
            case "pass":
                turns = [turn for turn in last if isinstance(turn, AssistantTurn)]
                self.prefill = openai_content.SEAM.join(text for turn in turns if (text := _text_of(turn)))
            case _:
                raise unsupported("", openai_content.NO_PREFILL)

    # The user and tools

    def _user(self, turn: UserTurn) -> list[Json]:
        items: list[Json] = []
        parts: list[Json] = []
        for result in turn.results:
            item, moved = self._output(result)
            items.append(item)
            parts += moved
        for part in turn.parts:
            parts += self._part(part, is_attached=self._is_unseen and not turn.results)
        return [*items, _message("user", parts)] if parts else items

    def _part(self, part: UserPart, *, is_attached: bool) -> list[Json]:
        match part:
            case Text():
                return [self._text(part)]
            case Image():
                return [self._image(part)]
            case Document():
                return self._document(part, is_attached=is_attached)
            case Audio():
                raise unsupported(part.path, "the model hears no audio")

    def _text(self, part: Text) -> Json:
        written: Json = {"type": "input_text", "text": part.text}
        return written if part.cache is None else written | openai_content.cache_breakpoint(part.cache, self._profile)

    def _image(self, part: Image) -> Json:
        hint = openai_content.cache_breakpoint(part.cache, self._profile)
        if isinstance(part.source, FileId):
            # `detail` is optional in the documentation, and required in the SDKs' types.
            return {"type": "input_image", "file_id": part.source.id, "detail": part.detail or "auto", **hint}
        url = openai_content.image_url(part, self._profile)
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto", **hint}

    def _document(self, part: Document, *, is_attached: bool) -> list[Json]:
        """What a file that the model cannot read becomes: see openai_content.unreadable."""
        hint = openai_content.cache_breakpoint(part.cache, self._profile)
        context = [{"type": "input_text", "text": part.context}] if part.context else []
        match part.source:
            case PlainText():
                return [{"type": "input_text", "text": openai_content.document_text(part) or "", **hint}]
            case FileId(id):
                return [*context, {"type": "input_file", "file_id": id, **hint}]
            case WebAddress() | Base64Data() if not self._profile.files:
                note = openai_content.unreadable(part, self._warnings, is_attached=is_attached)
                return [{"type": "input_text", "text": note, **hint}]
            case WebAddress(url):
                return [*context, {"type": "input_file", "file_url": url, **hint}]
            case Base64Data(media_type) as data:
                name = part.title if is_text(media_type) and part.title else openai_content.file_name(part)
                return [*context, {"type": "input_file", "filename": name, "file_data": data_url(data), **hint}]

    def _output(self, result: ToolResult) -> tuple[Json, list[Json]]:
        """The item, and what must move to the user message behind it."""
        call_id = self._call_id(result.call_id)
        labels = openai_content.MovedParts(call_id)
        content: list[Json] = []
        for part in result.parts:
            for written in self._part(part, is_attached=False):
                if written["type"] == "input_text" or self._profile.tool_result_images == "inline":
                    content.append(written)
                else:
                    kind = "image" if written["type"] == "input_image" else "document"
                    content.append({"type": "input_text", "text": labels.move(kind, written, "input_text")})
        item = {"type": f"{_CALL_TYPES[result.kind]}_output", "call_id": call_id}
        output = openai_content.result_content(result, content, "input_text", self._profile)
        return {**item, "output": output}, labels.parts

    def _call_id(self, call_id: str) -> str:
        return names.history_id(call_id, self._profile.tool_id_max, self._profile.tool_id_style)

    # The model's own turns

    def _assistant(self, turns: Sequence[AssistantTurn]) -> list[Json]:
        items: list[Json] = []
        for turn in turns:
            seam = openai_content.SEAM
            for part in turn.parts:
                match part:
                    case Text(text):
                        _say(items, text, seam)
                        seam = ""
                    case Refusal(text):
                        # A `refusal` part belongs to an item with an id of OpenAI's; as text it needs none.
                        _say(items, text, openai_content.SEAM)
                    case Reasoning():
                        items += self._reasoning(part)
                    case ToolCall():
                        items.append(self._call(part))
                    case Compaction():
                        items += _compaction(part)
        # "of type 'reasoning' was provided without its required following item":
        # https://github.com/openai/codex/issues/1227.
        while items and items[-1]["type"] == "reasoning":
            items.pop()  # OpenAI refuses reasoning that nothing follows
        if self._profile.phase:
            _mark_phases(items)
        return items

    def _reasoning(self, part: Reasoning) -> Iterable[Json]:
        if part.is_opaque_to((OPENAI_RESPONSES,)):
            self._warnings.reasoning_left_out(part.path)
        if members := _sealed(part):
            # OpenAI requires the member, which may be empty.
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            yield {"type": "reasoning", "summary": summary, **members}

    def _call(self, call: ToolCall) -> Json:
        head = {"type": _CALL_TYPES[call.kind], "call_id": self._call_id(call.id)}
        name = self._names.upstream(call.name)
        if call.kind == "custom":
            return {**head, "name": name, "input": call.arguments}
        return {**head, "name": name, "arguments": call.arguments or "{}"}


def _message(role: str, content: list[Json]) -> Json:
    return {"type": "message", "role": role, "content": content}


def _parts(item: Json) -> list[Json]:
    content = item.get("content", item.get("output"))
    return content if isinstance(content, list) else []


def _text_of(turn: AssistantTurn) -> str:
    return "".join(part.text for part in turn.parts if isinstance(part, Text))


def _say(items: list[Json], text: str, seam: str) -> None:
    """Texts that follow each other are one message."""
    last = items[-1] if items else None
    if last is not None and last["type"] == "message" and isinstance(last["content"], str):
        last["content"] += seam + text
    elif text:
        # As a string it needs no id, which a message with parts has from OpenAI.
        items.append({"type": "message", "role": "assistant", "content": text})


def _sealed(part: Reasoning | Compaction) -> Json | None:
    """What OpenAI wants back. Nothing is stored there, so an id alone would name nothing; other vendors' reasoning
    means nothing here."""
    data = part.data if part.carrier == OPENAI_RESPONSES and isinstance(part.data, dict) else {}
    members = {name: data.get(name) for name in ("id", "encrypted_content")}
    return members if all(isinstance(value, str) for value in members.values()) else None


def _compaction(part: Compaction) -> Iterable[Json]:
    if members := _sealed(part):
        yield {"type": "compaction", **members}
    elif part.text:
        yield _message("user", [{"type": "input_text", "text": openai_content.SUMMARY + part.text}])


def _mark_phases(items: list[Json]) -> None:
    """What is said before a call is commentary (gpt-5.3-codex and later)."""
    phase = "final_answer"
    for item in reversed(items):
        if item["type"] in ("function_call", "custom_tool_call"):
            phase = "commentary"
        elif item["type"] == "message":
            item["phase"] = phase
