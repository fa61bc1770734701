"""The turns of a conversation as Anthropic's messages, whose roles alternate (docs/mapping.md 4.2, 4.3)."""

from collections.abc import Iterator, Sequence
from typing import Literal

from extproc.providers.profiles import Profile
from extproc.translate.arguments import tool_input
from extproc.translate.checked import Json, Warnings, refused, unsupported
from extproc.translate.conversation import (
    ANTHROPIC,
    AssistantPart,
    AssistantTurn,
    Audio,
    Base64Data,
    CacheHint,
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
    UserPart,
    UserTurn,
    WebAddress,
)
from extproc.translate.names import ToolNames, client_id
from extproc.translate.openai_content import PDF, is_text, plain_text
from extproc.translate.signature import is_ours

_THINKING = frozenset(("thinking", "redacted_thinking"))
_START, _CONTINUE = "(conversation start)", "Continue."
_OF_COMPACTION = ("encrypted_content", "signature", "tool_changes")
_FOREIGN_COMPACTION = "what another provider has compacted cannot be read"
# https://platform.claude.com/docs/en/build-with-claude/vision: four types, and `image/jpg`, which many write, is none.
_IMAGES = {"image/jpg": "image/jpeg", **{kind: kind for kind in ("image/jpeg", "image/png", "image/gif", "image/webp")}}
Role = Literal["user", "assistant", "system"]


class MessageTurn:
    """Neighbouring turns of one role are one."""

    __slots__ = ("blocks", "path", "results", "role")

    def __init__(self, role: Role, path: str, blocks: list[Json], results: Sequence[Json] = ()) -> None:
        self.role = role
        self.path = path
        """The path of its first part in the client's body; empty for a turn that was made here."""
        self.blocks = blocks
        self.results = list(results)
        """Results of tools, which stand before everything else of the user's."""

    @property
    def has_calls(self) -> bool:
        return any(block["type"] == "tool_use" for block in self.blocks)

    @property
    def has_thinking(self) -> bool:
        return any(block["type"] in _THINKING for block in self.blocks)

    def message(self, *, with_thinking: bool) -> Json:
        blocks = self.results + self.blocks
        # Where thinking is disabled Claude refuses it in an assistant turn at the end:
        # https://github.com/tailcallhq/forgecode/issues/1853.
        if not with_thinking:
            blocks = [block for block in blocks if block["type"] not in _THINKING]
        if len(blocks) == 1 and blocks[0]["type"] == "text" and "cache_control" not in blocks[0]:
            return {"role": self.role, "content": blocks[0]["text"]}
        return {"role": self.role, "content": blocks}


class MessageWriter:
    def __init__(self, conversation: Conversation, profile: Profile, names: ToolNames, warnings: Warnings) -> None:
        self.system: list[tuple[str, Json]] = []
        """Text blocks of the system prompt, each with the path of its turn."""
        self._conversation = conversation
        self._profile = profile
        self._names = names
        self._warnings = warnings
        self._used_ids: set[str] = set()
        self._times_called: dict[str, int] = {}
        self._open_ids: dict[str, list[str]] = {}
        """The client's id of a call -> the provider's ids of those that have no result yet."""

    def turns(self) -> list[MessageTurn]:
        """Turns as Anthropic takes them; instructions that it does not take among them go to `system`. Raises
        Refused."""
        self._to_system(self._conversation.system)
        turns = self._place(self._collect())
        if not turns:
            return [self._turn_of_instructions()]
        if turns[0].role != "user":
            first = f"{self._conversation.path}.0"
            # A history that was cut at the front may begin with the model.
            self._warnings.add("emulated", first, "the first message must be a user's")
            turns.insert(0, MessageTurn("user", "", [_text_block(_START)]))
        if turns[-1].role == "assistant":
            self._end_with_user(turns)
        return turns

    # Turns

    def _to_system(self, parts: Sequence[Text], path: str = "") -> None:
        self.system += [(path or part.path, block) for part in parts for block in _text(part)]

    def _collect(self) -> list[MessageTurn]:
        """Turns in the client's order, without those in which nothing is left."""
        turns: list[MessageTurn] = []
        has_begun = False
        for turn in self._conversation.turns:
            if isinstance(turn, SystemTurn):
                self._instruct(turn, turns, has_begun=has_begun)
            else:
                has_begun = True
                _append(turns, self._turn(turn))
        for made in turns:
            while made.blocks and made.blocks[-1]["type"] in _THINKING:
                made.blocks.pop()  # Anthropic refuses a turn that ends with thinking
        return [made for made in turns if made.blocks or made.results]

    def _turn(self, turn: UserTurn | AssistantTurn) -> MessageTurn:
        if isinstance(turn, AssistantTurn):
            return MessageTurn("assistant", turn.path, self._assistant_blocks(turn.parts))
        results = [self._result(result) for result in turn.results]
        return MessageTurn("user", turn.path, self._blocks(turn.parts), results)

    def _instruct(self, turn: SystemTurn, turns: list[MessageTurn], *, has_begun: bool) -> None:
        if not has_begun:
            self._to_system(turn.parts, turn.path)
        elif blocks := [block for part in turn.parts for block in _text(part)]:
            made = MessageTurn("system", turn.path, blocks)
            if self._profile.mid_system == "native" and not turn.between_calls_and_results:
                turns.append(made)
            else:
                self._hoist(made)

    def _hoist(self, turn: MessageTurn) -> None:
        self._warnings.add("reordered", turn.path, "instructions must come before the conversation")
        self.system += [(turn.path, block) for block in turn.blocks]

    def _place(self, turns: list[MessageTurn]) -> list[MessageTurn]:
        placed: list[MessageTurn] = []
        for turn, may_stay in zip(turns, _may_stay(turns), strict=True):
            if may_stay:
                _append(placed, turn)
            else:
                self._hoist(turn)
        return placed

    def _turn_of_instructions(self) -> MessageTurn:
        """Instructions alone: the last of them is what the model is asked."""
        if not self.system:
            raise refused(self._conversation.path, "at least one message with content is required")
        last = self.system[-1][0]
        self._warnings.add("approx", last, "at least one user message is required")
        blocks = [block for path, block in self.system if path == last]
        self.system = [(path, block) for path, block in self.system if path != last]
        return MessageTurn("user", last, blocks)

    def _end_with_user(self, turns: list[MessageTurn]) -> None:
        """Anthropic's newer models continue no answer, and white space at the end of one is refused."""
        last = turns[-1].blocks[-1]
        if last["type"] == "text":
            last["text"] = last["text"].rstrip()
        match self._profile.prefill:
            case "append_user":
                self._warnings.add("emulated", "prefill", "the conversation must end with a user message")
                turns.append(MessageTurn("user", "", [_text_block(_CONTINUE)]))
            case "reject":
                problem = "the conversation must end with a user message; this model continues no answer"
                raise unsupported(turns[-1].path, problem)
            case "pass" | "prefix" | "continue_final":
                return

    # The model's own words, calls and results

    def _assistant_blocks(self, parts: Sequence[AssistantPart]) -> list[Json]:
        blocks: list[Json] = []
        for part in parts:
            match part:
                case Text():
                    blocks += _text(part)
                case Refusal(text):
                    blocks += [_text_block(text)] if text.strip() else []
                case Reasoning():
                    blocks += write_thinking(part)
                    if part.is_opaque_to((ANTHROPIC,)):
                        self._warnings.reasoning_left_out(part.path)
                case ToolCall():
                    blocks.append(self._call(part))
                case Compaction():
                    blocks += self._compaction(part)
        return blocks

    def _call(self, call: ToolCall) -> Json:
        if call.kind == "custom":
            value: Json = {"input": call.arguments}
        else:
            value, is_json, _ = tool_input(call.arguments)
            if not is_json and self._profile.strictness == "strict":
                raise refused(call.path, "Input should be a JSON object")
            if not is_json:
                self._warnings.word(f"invalid_tool_arguments:{call.id[:80]}")
        call_id = self._unique_id(client_id(call.id))
        self._open_ids.setdefault(call.id, []).append(call_id)
        return {"type": "tool_use", "id": call_id, "name": self._names.upstream(call.name), "input": value}

    def _unique_id(self, call_id: str) -> str:
        """Some servers number the calls of each answer anew; for Anthropic ids are unique in a conversation."""
        unique, n = call_id, self._times_called.get(call_id, 1)
        while unique in self._used_ids:
            n += 1
            unique = f"{call_id}_{n}"
        self._times_called[call_id] = n
        self._used_ids.add(unique)
        return unique

    def _result(self, result: ToolResult) -> Json:
        block: Json = {"type": "tool_result", "tool_use_id": self._open_ids[result.call_id].pop(0)}
        # A result may go without content; an empty text in it is refused.
        if content := self._result_content(result):
            block["content"] = content
        if result.is_error:
            block["is_error"] = True
        return _marked(block, result.cache)

    def _result_content(self, result: ToolResult) -> str | list[Json]:
        # A list of one text is another prompt for the cache than the text alone.
        match result.parts:
            case (Text(text, path),) if path == result.path:  # the client sent a string
                return text if text.strip() else ""
            case parts:
                return self._blocks(parts)

    def _compaction(self, part: Compaction) -> Iterator[Json]:
        # The envelope that it was in is the client's to change.
        if part.carrier == ANTHROPIC and isinstance(part.data, dict | None) and part.text:
            members = {name: part.data[name] for name in _OF_COMPACTION if name in part.data} if part.data else {}
            yield {"type": "compaction", "content": part.text, **members}
        else:
            self._warnings.add("dropped", part.path, _FOREIGN_COMPACTION)

    # Content

    def _blocks(self, parts: Sequence[UserPart]) -> list[Json]:
        blocks: list[Json] = []
        for part in parts:
            match part:
                case Text():
                    blocks += _text(part)
                case Image():
                    blocks.append(_marked({"type": "image", "source": self._image_source(part)}, part.cache))
                case Document():
                    titled = {"title": part.title} if part.title else {}
                    titled |= {"context": part.context} if part.context else {}
                    block = {"type": "document", "source": self._document_source(part), **titled}
                    blocks.append(_marked(block, part.cache))
                case Audio():
                    raise unsupported(part.path, "the model hears no audio")
        return blocks

    def _image_source(self, image: Image) -> Json:
        match image.source:
            case Base64Data() as data:
                return {"type": "base64", "media_type": _image_media_type(image, data), "data": data.data}
            case WebAddress(url):
                return self._url_source(url, image.path, "image")
            case FileId():
                raise _foreign_file(image.path)

    def _document_source(self, document: Document) -> Json:
        match document.source:
            case Base64Data(media_type) as data if media_type == PDF:
                return {"type": "base64", "media_type": PDF, "data": data.data}
            # Anthropic has one media type for documents of text, whatever kind of text it is.
            case Base64Data(media_type) as data if is_text(media_type):
                return {"type": "text", "media_type": "text/plain", "data": plain_text(data, document.path)}
            case Base64Data(media_type):
                raise unsupported(document.path, f"media type {media_type[:64]!r} is neither PDF nor text")
            case PlainText(text):
                return {"type": "text", "media_type": "text/plain", "data": text}
            case WebAddress(url):
                return self._url_source(url, document.path, "file")
            case FileId():
                raise _foreign_file(document.path)

    def _url_source(self, url: str, path: str, what: str) -> Json:
        if not self._profile.url_sources:
            raise unsupported(path, f"the upstream takes no {what} by URL; send it as base64")
        return {"type": "url", "url": url}


def _append(turns: list[MessageTurn], turn: MessageTurn) -> None:
    if turns and turns[-1].role == turn.role:
        turns[-1].results += turn.results
        turns[-1].blocks += turn.blocks
    else:
        turns.append(turn)


def _may_stay(turns: Sequence[MessageTurn]) -> list[bool]:
    """Whether Anthropic takes each turn where it is: one of the system's must follow a user turn, and be the last or
    stand before an assistant turn."""
    if not any(turn.role == "system" for turn in turns):
        return [True] * len(turns)
    before, after = _roles_before(turns), _roles_before(turns[::-1])[::-1]
    neighbours = zip(turns, before, after, strict=True)
    return [
        turn.role != "system" or (last == "user" and following in ("assistant", ""))
        for turn, last, following in neighbours
    ]


def _roles_before(turns: Sequence[MessageTurn]) -> list[str]:
    """For each turn the role of the last one before it that is no system turn, or an empty string."""
    found, role = [], ""
    for turn in turns:
        found.append(role)
        if turn.role != "system":
            role = turn.role
    return found


def _text_block(text: str) -> Json:
    return {"type": "text", "text": text}


def _text(part: Text) -> list[Json]:
    """Nothing for blank text, which Anthropic refuses."""
    text = part.text
    if not text or text.isspace():
        return []
    return [_marked({"type": "text", "text": text}, part.cache)]


def _marked(block: Json, hint: CacheHint | None) -> Json:
    return block if hint is None else {**block, "cache_control": cache_control(hint)}


def cache_control(hint: CacheHint) -> Json:
    return {"type": "ephemeral", "ttl": "1h"} if hint.long else {"type": "ephemeral"}


def _image_media_type(image: Image, data: Base64Data) -> str:
    """Raises Refused for one that Anthropic does not take."""
    media_type = _IMAGES.get(data.media_type)
    if media_type is None:
        raise unsupported(image.path, f"media type {data.media_type[:64]!r} is not one of JPEG, PNG, GIF, WebP")
    return media_type


def _foreign_file(path: str) -> Exception:
    return unsupported(path, "a file by file_id cannot be sent to another provider; send its data")


def write_thinking(part: Reasoning) -> Iterator[Json]:
    """Claude checks the signature of its thinking, so that only what Claude made is sent back."""
    data = part.data if part.carrier == ANTHROPIC and isinstance(part.data, dict) else {}
    # Text without a signature is refused, wherever it comes from.
    if signature := _opaque(data.get("signature")):
        yield {"type": "thinking", "thinking": part.text, "signature": signature}
    elif hidden := _opaque(data.get("data")):
        yield {"type": "redacted_thinking", "data": hidden}


def _opaque(value: object) -> str:
    return value if isinstance(value, str) and not is_ours(value) else ""
