"""The turns of a conversation as Chat messages (docs/mapping.md 1.3 to 1.5).

A message of the assistant holds text and calls, one `tool` message each result, and nothing may stand between them.
Neighbouring turns of one role become one message.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from extproc.providers.profiles import Profile
from extproc.translate import names, openai_content
from extproc.translate import openai_members as openai
from extproc.translate.checked import Json, Warnings, refused, unsupported
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
from extproc.translate.names import ToolNames, client_id
from extproc.translate.openai_content import PDF, SEAM, data_url

DETAILS, GEMINI, MISTRAL = "reasoning_details", "gemini_thought_signature", "mistral_thinking"
_CARRIERS = frozenset(("reasoning_content", "reasoning", DETAILS, GEMINI, MISTRAL))
# Members in which vendors take their reasoning back: https://api-docs.deepseek.com/guides/thinking_mode,
# https://openrouter.ai/docs/use-cases/reasoning-tokens.
_TEXT_MEMBER = {"reasoning_content": "reasoning_content", "reasoning": "reasoning", DETAILS: "reasoning"}


def _content(parts: Sequence[Text], profile: Profile) -> str | list[Json]:
    return _joined([_text(part, profile) for part in parts], profile)


def _joined(parts: list[Json], profile: Profile) -> str | list[Json]:
    """A string where all is text, since servers know that form best."""
    if _is_listed(parts, profile):
        return parts
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return SEAM.join(texts) if len(texts) == len(parts) else parts


def _is_listed(parts: Sequence[Json], profile: Profile) -> bool:
    """Whether texts stay a list: where one has a mark, and where another request might mark one of them, since the
    provider's cache knows a prompt only by exactly the same parts."""
    if profile.map_cache_control and len(parts) > 1:
        return True
    return bool([part for part in parts if "prompt_cache_breakpoint" in part])


def _text(part: Text, profile: Profile) -> Json:
    written: Json = {"type": "text", "text": part.text}
    return written if part.cache is None else written | openai_content.cache_breakpoint(part.cache, profile)


class ReasoningHistory:
    """Collects the reasoning of one assistant message."""

    def __init__(self, profile: Profile, warnings: Warnings) -> None:
        self._history = profile.reasoning_history
        self._warnings = warnings
        self._takes_foreign = profile.foreign_thinking == "text"
        self._texts: list[list[str]] = []
        """The pieces of each turn."""
        self._details: list[Any] = []
        self._signatures: dict[str, Any] = {}
        """Gemini's, by the client's id of the call."""

    def next_turn(self) -> None:
        self._texts.append([])

    def add(self, reasoning: Reasoning) -> None:
        """Reasoning of another vendor's means nothing here, except as text where the profile says so."""
        takes_foreign = self._takes_foreign and self._history != "none"
        if reasoning.is_opaque_to(_CARRIERS) and not takes_foreign:
            self._warnings.reasoning_left_out(reasoning.path)
        if self._history == "none":
            return
        if not (reasoning.is_ours or takes_foreign or reasoning.carrier in _CARRIERS):
            return
        self._texts[-1].append(reasoning.text)
        if reasoning.carrier == DETAILS and isinstance(reasoning.data, list):
            self._details += reasoning.data
        if reasoning.carrier == GEMINI and isinstance(reasoning.data, dict):
            self._signatures |= reasoning.data
            # The client may know the call by an id of another form (docs/mapping.md 0.3).
            self._signatures |= {client_id(key): value for key, value in reasoning.data.items()}

    def call_extra(self, call_id: str) -> Json | None:
        """Gemini refuses the next step of a tool loop without the signature on the call that it came with."""
        signature = self._signatures.get(call_id)
        return None if signature is None else {"google": {"thought_signature": signature}}

    def write(self, message: Json) -> None:
        """Adds the member in which the provider wants its own reasoning."""
        if self._history == "none":
            return
        text = "\n\n".join(joined for pieces in self._texts if (joined := "".join(pieces)))
        if self._history == DETAILS and self._details:
            message[DETAILS] = self._details
        elif self._history == MISTRAL and text:
            # A chunk in front of the text: https://docs.mistral.ai/capabilities/reasoning.
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            message["content"] = [thought, *parts]
        elif self._history in _TEXT_MEMBER and text:
            message[_TEXT_MEMBER[self._history]] = text
        elif self._history == "reasoning_content" and "tool_calls" in message:
            # DeepSeek answers 400 when a turn with calls lacks the member.
            message["reasoning_content"] = ""


class MessageWriter:
    def __init__(self, conversation: Conversation, profile: Profile, tool_names: ToolNames, warnings: Warnings) -> None:
        self.prefill = ""
        """Text that the answer may repeat."""
        self.continues_final = False
        """The server shall go on with the last message (vLLM, SGLang)."""
        self._conversation = conversation
        self._profile = profile
        self._names = tool_names
        self._warnings = warnings
        self._instructions: list[Text] = []
        """Those that the system prompt must hold besides its own."""
        self._is_unseen = False
        """The model has not answered yet what is being written."""

    def messages(self) -> list[Json]:
        """The messages without the system prompt. Raises Refused."""
        turns, hoisted = openai_content.with_placed_instructions(self._conversation, self._profile, self._warnings)
        leading: list[Text] = []
        while turns and isinstance(first := turns[0], SystemTurn):
            leading += first.parts
            del turns[0]
        self._instructions = [*leading, *hoisted]
        out: list[Json] = []
        for group, self._is_unseen in openai_content.grouped(turns):
            out += self._group(group)
        if not out and not leading and not self._conversation.system:
            raise refused("messages", "at least one message with content is required")
        if self._conversation.continues_last_turn and out:
            self._continue(out)
        return out

    def with_system(self, messages: list[Json], notes: Iterable[str]) -> list[Json]:
        """The messages behind the first one, which holds all instructions that do not stand in their midst. `notes`:
        those that are not the client's."""
        parts = [*self._conversation.system, *self._instructions, *(Text(note, "") for note in notes)]
        head: list[Json] = []
        if not all(part.text.isspace() for part in parts):
            head.append({"role": self._profile.system_role, "content": _content(parts, self._profile)})
        contents = [message["content"] for message in (*messages, *head)]
        openai_content.keep_last_breakpoints([part for held in contents if isinstance(held, list) for part in held])
        return [*head, *messages]

    def _group(self, group: Sequence[Turn]) -> list[Json]:
        system: list[Text] = []
        user: list[UserTurn] = []
        assistant: list[AssistantTurn] = []
        for turn in group:
            match turn:
                case SystemTurn(parts):
                    system += parts
                case UserTurn():
                    user.append(turn)
                case AssistantTurn():
                    assistant.append(turn)
        if system:
            return [{"role": self._profile.system_role, "content": _content(system, self._profile)}]
        if user:
            return self._user(user)
        message = self._assistant(assistant)
        return [message] if message is not None else []

    def _user(self, turns: list[UserTurn]) -> list[Json]:
        out: list[Json] = []
        parts: list[Json] = []
        for turn in turns:
            for result in turn.results:
                message, moved = self._result(result)
                out.append(message)
                parts += moved
            for part in turn.parts:
                parts += self._part(part, is_attached=self._is_unseen and not turn.results)
        if parts:
            out.append({"role": "user", "content": _joined(parts, self._profile)})
        return out

    def _part(self, part: UserPart, *, is_attached: bool) -> list[Json]:
        match part:
            case Text():
                return [_text(part, self._profile)]
            case Image():
                return [self._image(part)]
            case Document():
                return self._document(part, is_attached=is_attached)
            case Audio(data, format):
                return [{"type": "input_audio", "input_audio": {"data": data, "format": format}}]

    def _image(self, image: Image) -> Json:
        url: Json = {"url": openai_content.image_url(image, self._profile)}
        if image.detail is not None:
            url["detail"] = image.detail
        return {"type": "image_url", "image_url": url, **openai_content.cache_breakpoint(image.cache, self._profile)}

    def _document(self, document: Document, *, is_attached: bool) -> list[Json]:
        hint = openai_content.cache_breakpoint(document.cache, self._profile)
        if (text := openai_content.document_text(document)) is not None:
            return [{"type": "text", "text": text, **hint}]
        data = document.source
        if not (isinstance(data, Base64Data) and data.media_type == PDF and self._profile.files):
            note = openai_content.unreadable(document, self._warnings, is_attached=is_attached)
            return [{"type": "text", "text": note, **hint}]
        context = [{"type": "text", "text": document.context}] if document.context else []
        file = {"filename": openai_content.file_name(document), "file_data": data_url(data)}
        return [*context, {"type": "file", "file": file, **hint}]

    # Results

    def _result(self, result: ToolResult) -> tuple[Json, list[Json]]:
        """The `tool` message, and what must move to the user message behind it: a result is text, for most servers."""
        call_id = self._call_id(result.call_id)
        content: list[Json] = []
        labels = openai_content.MovedParts(call_id)
        for part in result.parts:
            for written in self._part(part, is_attached=False):
                is_image = written["type"] == "image_url"
                if written["type"] == "text" or (is_image and self._profile.tool_result_images == "inline"):
                    content.append(written)
                else:
                    kind = "image" if is_image else "document"
                    content.append({"type": "text", "text": labels.move(kind, written, "text")})
        text = openai_content.result_content(result, content, "text", self._profile)
        message = {"role": "tool", "tool_call_id": call_id, "content": text}
        return message, labels.parts

    def _call_id(self, call_id: str) -> str:
        return names.history_id(call_id, self._profile.tool_id_max, self._profile.tool_id_style)

    # The model's own turns

    def _assistant(self, turns: list[AssistantTurn]) -> Json | None:
        """None where nothing is left, as of a turn of foreign reasoning alone."""
        history = ReasoningHistory(self._profile, self._warnings)
        texts: list[list[Json]] = []
        calls: list[Json] = []
        for turn in turns:
            history.next_turn()
            texts.append([])
            for part in turn.parts:
                match part:
                    case Text():
                        texts[-1].append(_text(part, self._profile))
                    case Refusal(text):
                        texts[-1].append({"type": "text", "text": text})
                    case Compaction(text):
                        texts[-1].append({"type": "text", "text": openai_content.SUMMARY + text if text else ""})
                    case Reasoning():
                        history.add(part)
                    case ToolCall():
                        calls.append(self._call(part, history))
        content = self._assistant_content(texts)
        if not content and not calls:
            return None
        # Null stands for no text, as in OpenAI's own answers with calls.
        message: Json = {"role": "assistant", "content": content or None}
        if calls:
            message["tool_calls"] = calls
        history.write(message)
        return message

    def _assistant_content(self, texts: list[list[Json]]) -> str | list[Json]:
        """Texts of one turn are one text."""
        parts = [part for turn in texts for part in turn if part["text"]]
        if not parts:
            return ""
        if _is_listed(parts, self._profile):
            return parts
        return SEAM.join(joined for turn in texts if (joined := "".join(part["text"] for part in turn)))

    def _call(self, call: ToolCall, history: ReasoningHistory) -> Json:
        # vLLM parses the arguments of earlier calls for its chat template, and fails at what is no JSON:
        # https://github.com/vllm-project/vllm/pull/48922.
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
                self._warnings.add("emulated", "prefill", openai_content.NO_PREFILL)
                out.append({"role": "user", "content": "Continue."})
            # https://docs.mistral.ai/api/#tag/chat, https://api-docs.deepseek.com/guides/chat_prefix_completion
            case "prefix":
                last["prefix"] = True
            case "pass":
                content = last["content"]
                self.prefill = content if isinstance(content, str) else "".join(part["text"] for part in content)
            # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#chat-api
            case "continue_final":
                self.continues_final = True
            case "reject":
                raise unsupported("", openai_content.NO_PREFILL)
