"""The turns of a conversation as Chat messages (docs/mapping.md 1.3 to 1.5).

A message of the assistant holds text and calls, one `tool` message each result, and nothing may stand between them.
Neighbouring turns of one role become one message.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from extproc.providers.profiles import Profile
from extproc.translate import names
from extproc.translate import openai_request as openai
from extproc.translate.conversation import (
    AssistantTurn,
    Audio,
    Base64Data,
    Compaction,
    Conversation,
    Document,
    Image,
    Reasoning,
    Refusal,
    SystemTurn,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    UserPart,
    UserTurn,
)
from extproc.translate.dialects.chat.reasoning_history import ReasoningHistory
from extproc.translate.media import PDF, data_url
from extproc.translate.openai_request import SEAM, ToolNames
from extproc.translate.want import Json, refused, unsupported
from extproc.translate.warnings import Warnings

_NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
_NO_FILES = "the upstream takes no PDF documents or other files; send the text (capability_rejected: document_block)"


class MessageWriter:
    def __init__(self, conversation: Conversation, profile: Profile, tool_names: ToolNames, warnings: Warnings) -> None:
        self.hoisted: list[Text] = []
        """Later instructions that the system prompt must hold."""
        self.prefill = ""
        """Text that the answer may repeat."""
        self.continues_final = False
        """The server shall go on with the last message (vLLM, SGLang)."""
        self._conversation = conversation
        self._profile = profile
        self._names = tool_names
        self._warnings = warnings
        self._kinds = {tool.name: tool.kind for tool in conversation.client_tools}
        self._is_last_turn = False

    def messages(self) -> tuple[list[Text], list[Json]]:
        """Leading instructions, and the messages without the system prompt. Raises Refused."""
        turns = list(self._conversation.turns)
        leading: list[Text] = []
        while turns and isinstance(first := turns[0], SystemTurn):
            leading += first.parts
            del turns[0]
        turns = self._placed(turns)
        out: list[Json] = []
        groups = [list(group) for _, group in groupby(turns, key=type)]
        for n, group in enumerate(groups):
            self._is_last_turn = n == len(groups) - 1
            out += self._group(group)
        if not out and not leading and not self._conversation.system:
            raise refused("messages", "at least one message with content is required")
        if self._conversation.continues_last_turn and out:
            self._continue(out)
        return leading, out

    def _placed(self, turns: list[Turn]) -> list[Turn]:
        """System turns as the provider takes them: in place, as a reminder of the user's, or in the system prompt."""
        placed: list[Turn] = []
        for turn in turns:
            if not isinstance(turn, SystemTurn) or self._profile.mid_system == "native":
                placed.append(turn)
            elif self._profile.mid_system == "hoist":
                self._warnings.add("reordered", turn.path, "instructions must come before the conversation")
                self.hoisted += turn.parts
            else:
                reminder = f"<system-reminder>\n{openai.joined(turn.parts)}\n</system-reminder>"
                placed.append(UserTurn((), (Text(reminder, turn.path),), turn.path))
        return placed

    def _group(self, group: Sequence[Turn]) -> list[Json]:
        system, user, assistant = _sorted(group)
        if system:
            texts = [part for turn in system for part in turn.parts]
            return [{"role": self._profile.system_role, "content": self._content(texts)}]
        if user:
            return self._user(user)
        message = self._assistant(assistant)
        return [message] if message is not None else []

    def _user(self, turns: list[UserTurn]) -> list[Json]:
        out: list[Json] = []
        parts: list[UserPart | Json] = []
        for turn in turns:
            for result in turn.results:
                message, moved = self._result(result)
                out.append(message)
                parts += moved
            parts += turn.parts
        if parts:
            out.append({"role": "user", "content": self._content(parts)})
        return out

    def _content(self, parts: Sequence[UserPart | Json]) -> str | list[Json]:
        """A string where all is text, since servers know that form best."""
        plain = [part for part in parts if isinstance(part, Text)]
        hints = [openai.cache_breakpoint(part.cache, self._profile) for part in plain]
        if len(plain) == len(parts) and not any(hints):
            return openai.joined(plain)
        return [part if isinstance(part, dict) else self._part(part) for part in parts]

    def _part(self, part: UserPart) -> Json:
        match part:
            case Text(text):
                return {"type": "text", "text": text, **openai.cache_breakpoint(part.cache, self._profile)}
            case Image():
                return self._image(part)
            case Document():
                return self._document(part, in_result=False)
            case Audio(data, format):
                return {"type": "input_audio", "input_audio": {"data": data, "format": format}}

    def _image(self, image: Image) -> Json:
        url: Json = {"url": openai.image_url(image, self._profile)}
        if image.detail is not None:
            url["detail"] = image.detail
        return {"type": "image_url", "image_url": url, **openai.cache_breakpoint(image.cache, self._profile)}

    def _document(self, document: Document, *, in_result: bool) -> Json:
        """A file that the model cannot read is refused where the user has just attached it. In the history it becomes
        a note: the history is sent again each turn, and a refusal would end the session for good."""
        hint = openai.cache_breakpoint(document.cache, self._profile)
        if (text := openai.document_text(document)) is not None:
            return {"type": "text", "text": text, **hint}
        data = document.source
        if isinstance(data, Base64Data) and data.media_type == PDF and self._profile.files:
            return {
                "type": "file",
                "file": {"filename": openai.file_name(document), "file_data": data_url(data)},
                **hint,
            }
        if self._is_last_turn and not in_result:
            raise unsupported(document.path, _NO_FILES)
        self._warnings.add("approx", document.path, _NO_FILES)
        return {"type": "text", "text": openai.unreadable_file(document), **hint}

    # Results

    def _result(self, result: ToolResult) -> tuple[Json, list[UserPart | Json]]:
        """The `tool` message, and the parts that must move to the user message behind it."""
        inline = self._profile.tool_result_images == "inline"
        texts: list[str] = []
        content: list[Json] = []
        moved: list[UserPart | Json] = []
        for part in result.parts:
            if isinstance(part, Image):
                written = self._image(part)
                if inline:
                    content.append(written)
                    continue
                label = f"image #{len(moved) // 2 + 1} of tool result {result.call_id}"
                texts.append(f"[{label} attached in the next user message]")
                moved += [Text(f"[{label}]", part.path), written]
            else:
                written = self._part(part) if isinstance(part, Text) else self._document(part, in_result=True)
                if written["type"] == "text":
                    texts.append(written["text"])
                else:
                    moved.append(written)
        text = openai.result_text(result, SEAM.join(texts))
        body: str | list[Json] = (
            text if not content else [*([{"type": "text", "text": text}] if text else []), *content]
        )
        return {"role": "tool", "tool_call_id": self._call_id(result.call_id), "content": body}, moved

    def _call_id(self, call_id: str) -> str:
        return names.history_id(call_id, self._profile.tool_id_max, self._profile.tool_id_style)

    # The model's own turns

    def _assistant(self, turns: list[AssistantTurn]) -> Json | None:
        """None where nothing is left, as of a turn of foreign reasoning alone."""
        history = ReasoningHistory(self._profile)
        texts: list[str] = []
        calls: list[Json] = []
        for turn in turns:
            history.next_turn()
            said: list[str] = []
            for part in turn.parts:
                match part:
                    case Text(text) | Refusal(text):
                        said.append(text)
                    case Compaction(text):
                        said.append(f"[Summary of the earlier conversation]\n{text}" if text else "")
                    case Reasoning():
                        history.add(part)
                    case ToolCall():
                        calls.append(self._call(part, history))
            texts.append("".join(said))
        content = SEAM.join(text for text in texts if text)
        if not content and not calls:
            return None
        message: Json = {"role": "assistant", "content": content or None}
        if calls:
            message["tool_calls"] = calls
        history.write(message)
        return message

    def _call(self, call: ToolCall, history: ReasoningHistory) -> Json:
        arguments = call.arguments or "{}"
        if call.kind == "custom":
            arguments = openai.encode({"input": call.arguments}).decode()
        function = {"name": self._names.upstream(call.name), "arguments": arguments}
        found: Json = {"id": self._call_id(call.id), "type": "function", "function": function}
        if extra := history.call_extra(call.id):
            found["extra_content"] = extra
        return found

    def _continue(self, out: list[Json]) -> None:
        """The model shall go on with its own last words, as far as the provider can."""
        last: Any = out[-1]
        if last["role"] != "assistant" or not last["content"]:
            return
        match self._profile.prefill:
            case "append_user":
                self._warnings.add("emulated", "prefill", _NO_PREFILL)
                out.append({"role": "user", "content": "Continue."})
            case "prefix":
                last["prefix"] = True
            case "pass":
                self.prefill = last["content"]
            case "continue_final":
                self.continues_final = True
            case "reject":
                raise refused("", _NO_PREFILL)


def _sorted(group: Sequence[Turn]) -> tuple[list[SystemTurn], list[UserTurn], list[AssistantTurn]]:
    system = [turn for turn in group if isinstance(turn, SystemTurn)]
    user = [turn for turn in group if isinstance(turn, UserTurn)]
    return system, user, [turn for turn in group if isinstance(turn, AssistantTurn)]
