"""A conversation as a Responses request (docs/mapping.md 6.1, 6.2, 6.6)."""

from collections.abc import Iterable

import msgspec

from extproc.translate import names
from extproc.translate import openai_request as openai
from extproc.translate.conversation import (
    AssistantTurn,
    Audio,
    Base64Data,
    CallKind,
    Compaction,
    Conversation,
    Document,
    FileId,
    HostedTool,
    Image,
    McpServer,
    PlainText,
    Reasoning,
    Refusal,
    SystemTurn,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    UserPart,
    UserTurn,
    WebAddress,
    WebSearch,
)
from extproc.translate.media import data_url, is_text
from extproc.translate.openai_request import ToolNames
from extproc.translate.pair import Target
from extproc.translate.translated import WrittenRequest
from extproc.translate.turns import without_trailing_reasoning
from extproc.translate.want import Json, refused, unsupported
from extproc.translate.warnings import Warnings

PATH = "/responses"
LEAST_TOKENS = 16
CARRIER = "openai_responses"
_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_CALL_TYPES: dict[CallKind, str] = {"function": "function_call", "custom": "custom_tool_call", "shell": "function_call"}
_SYNTAXES = ("lark", "regex")
_KNOWN = frozenset(("moderation", "store"))
"""Untyped members that have a place here. `store` has none: whatever the client asks, nothing is kept."""


def write_request(conversation: Conversation, target: Target, warnings: Warnings) -> WrittenRequest:
    """Raises Refused, with the path of the fault in the client's body."""
    return _Writer(conversation, target, warnings).write()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, warnings: Warnings) -> None:
        self._conversation = conversation
        self._target = target
        profile = target.profile
        self._profile = msgspec.structs.replace(profile, efforts=(*profile.efforts, *profile.responses_efforts))
        self._warnings = warnings
        self._names = ToolNames(target.profile)

    def write(self) -> WrittenRequest:
        """Members in a fixed order, so that equal requests give equal bytes."""
        conversation, profile = self._conversation, self._profile
        body: Json = {"model": self._target.model or conversation.model}
        note = self._tools(body)
        if instructions := self._instructions(note):
            body["instructions"] = instructions
        prefill = self._input(body)
        effort = self._reasoning(body)
        self._text(body)
        limit = openai.bounded_limit(conversation.max_tokens, profile, self._warnings, LEAST_TOKENS)
        if limit is not None:
            body["max_output_tokens"] = limit
        body |= openai.sampling(conversation, profile, effort, self._warnings, top_k=False)
        if conversation.stop is not None and not profile.local_stop:
            self._warnings.add("dropped", conversation.stop.path)
        body |= openai.user(conversation, profile)
        body |= openai.service_tier(conversation, profile, self._warnings)
        self._rest(body)
        body.update(profile.extra)
        return WrittenRequest(
            path=PATH, body=openai.encode(body), names=self._names.originals, max_tokens=limit, prefill=prefill
        )

    def _instructions(self, note: str) -> str:
        texts = [*(part.text for part in self._conversation.system), note]
        texts.append(self._profile.system_suffix)
        texts.append(openai.format_prompt(self._conversation.output_format, self._profile, self._warnings))
        return openai.SEAM.join(text for text in texts if text)

    def _rest(self, body: Json) -> None:
        conversation = self._conversation
        openai.lose_unmapped(conversation.unmapped, _KNOWN, self._warnings)
        for member in conversation.unmapped:
            if member.name == "moderation":
                body["moderation"] = member.value
        if conversation.metadata is not None:
            body["metadata"] = conversation.metadata.value
        body |= conversation.prompt_cache
        include = []
        if conversation.logprobs is not None:
            include.append(_LOGPROBS)
            if conversation.logprobs.value:
                body["top_logprobs"] = conversation.logprobs.value
        if self._profile.include_encrypted:
            include.append(_ENCRYPTED)
        if include:
            body["include"] = include
        # Nothing may be kept there that a later request would have to name.
        body["store"] = False
        if conversation.shape.stream:
            body |= {"stream": True, "stream_options": {"include_obfuscation": False}}

    def _reasoning(self, body: Json) -> str | None:
        thinking = self._conversation.thinking
        effort = openai.clamped_effort(thinking, self._profile, self._warnings)
        reasoning: Json = {"effort": effort} if effort else {}
        # A model that does not reason refuses the member, whatever is in it.
        if effort != "none" and self._profile.efforts and thinking.shown == "yes":
            reasoning["summary"] = "auto"
        if reasoning:
            body["reasoning"] = reasoning
        return effort

    def _text(self, body: Json) -> None:
        text: Json = {}
        wanted = self._conversation.output_format
        if wanted is not None and wanted.schema is not None and self._profile.structured_output == "json_schema":
            text["format"] = {"type": "json_schema", **openai.json_schema(wanted, self._warnings)}
        elif wanted is not None and self._profile.structured_output != "prompt":
            text["format"] = {"type": "json_object"}
        if self._conversation.verbosity is not None:
            text["verbosity"] = self._conversation.verbosity.value
        if text:
            body["text"] = text

    # Tools

    def _tools(self, body: Json) -> str:
        """Returns what the system prompt says of them."""
        tools: list[Json] = []
        lost = False
        for tool in self._conversation.tools:
            match tool:
                case Tool():
                    tools.append(self._tool(tool))
                case WebSearch() if self._profile.web_search:
                    tools.append(_web_search(tool))
                case McpServer() if self._profile.mcp:
                    tools.append(_mcp(tool))
                case WebSearch() | McpServer() | HostedTool():
                    lost = True
                    self._warnings.add("dropped", tool.path, "the tool cannot run here")
        openai.unique_names(tool["name"] for tool in tools if "name" in tool)
        choice = self._conversation.tool_choice
        openai.check_forced_tool(choice, sent=bool(tools), lost=lost)
        if not tools:
            return ""
        body["tools"], note = tools, ""
        if choice is not None:
            sent, note = openai.choice_to_send(choice, self._profile, self._warnings)
            body["tool_choice"] = self._choice(sent)
        parallel = self._conversation.parallel_tool_calls
        if parallel is not None and self._profile.parallel_tool_calls:
            body["parallel_tool_calls"] = parallel.value
        return note

    def _tool(self, tool: Tool) -> Json:
        """`strict` is always sent: without it OpenAI tries strict mode, and makes optional properties required."""
        name = self._names.upstream(tool.name)
        if tool.kind != "custom":
            return {"type": "function", **openai.function(tool, name, self._warnings)}
        custom: Json = {"type": "custom", "name": name}
        if tool.description:
            custom["description"] = tool.description
        grammar = tool.grammar
        if grammar is not None and grammar.syntax in _SYNTAXES:
            custom["format"] = {"type": "grammar", "syntax": grammar.syntax, "definition": grammar.definition}
        elif grammar is not None:
            self._warnings.add("dropped", f"{tool.path}.format", f"the syntax is one of {', '.join(_SYNTAXES)}")
        return custom

    def _choice(self, choice: ToolChoice) -> str | Json:
        if choice.allowed is not None:
            allowed = [self._named(name) for name, _ in choice.allowed]
            return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
        return self._named(choice.name) if choice.name else choice.mode

    def _named(self, name: str) -> Json:
        kinds = {tool.name: tool.kind for tool in self._conversation.client_tools}
        kind = "custom" if kinds.get(name) == "custom" else "function"
        return {"type": kind, "name": self._names.upstream(name)}

    # Input

    def _input(self, body: Json) -> str:
        """Writes the items; returns text that the answer may repeat."""
        items = body["input"] = list[Json]()
        for turn in self._conversation.turns:
            match turn:
                case SystemTurn(parts):
                    items.append(_message(self._profile.system_role, [self._text_part(part) for part in parts]))
                case UserTurn(results, parts):
                    items += [self._output(result) for result in results]
                    if parts:
                        items.append(_message("user", [self._user_part(part) for part in parts]))
                case AssistantTurn():
                    items += self._assistant(turn)
        if not items:
            raise refused("messages", "at least one message with content is required")
        return ""

    def _user_part(self, part: UserPart) -> Json:
        match part:
            case Text():
                return self._text_part(part)
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                raise unsupported(part.path, "the model hears no audio")

    def _text_part(self, part: Text) -> Json:
        return {"type": "input_text", "text": part.text, **openai.cache_breakpoint(part.cache, self._profile)}

    def _image(self, part: Image) -> Json:
        hint = openai.cache_breakpoint(part.cache, self._profile)
        if isinstance(part.source, FileId):
            return {"type": "input_image", "file_id": part.source.id, "detail": part.detail or "auto", **hint}
        url = openai.image_url(part, self._profile)
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto", **hint}

    def _document(self, part: Document) -> Json:
        hint = openai.cache_breakpoint(part.cache, self._profile)
        match part.source:
            case PlainText():
                return {"type": "input_text", "text": openai.document_text(part) or "", **hint}
            case WebAddress(url):
                return {"type": "input_file", "file_url": url, **hint}
            case FileId(id):
                return {"type": "input_file", "file_id": id, **hint}
            case Base64Data(media_type) as data:
                name = part.title if is_text(media_type) and part.title else openai.file_name(part)
                return {"type": "input_file", "filename": name, "file_data": data_url(data), **hint}

    def _output(self, result: ToolResult) -> Json:
        texts = [part for part in result.parts if isinstance(part, Text)]
        if len(texts) == len(result.parts):
            output: str | list[Json] = openai.result_text(result, openai.joined(texts))
        else:
            output = [self._user_part(part) for part in result.parts]
            if result.is_error:
                output.insert(0, {"type": "input_text", "text": "Error:"})
        return {
            "type": f"{_CALL_TYPES[result.kind]}_output",
            "call_id": self._call_id(result.call_id),
            "output": output,
        }

    def _call_id(self, call_id: str) -> str:
        return names.history_id(call_id, self._profile.tool_id_max, self._profile.tool_id_style)

    def _assistant(self, turn: AssistantTurn) -> list[Json]:
        items: list[Json] = []
        for part in without_trailing_reasoning(turn.parts):
            match part:
                case Text(text):
                    _say(items, text)
                case Refusal(text):
                    # A `refusal` part belongs to an item with an id of OpenAI's; as text it needs none.
                    _say(items, text, openai.SEAM)
                case Reasoning():
                    items += _reasoning(part)
                case ToolCall():
                    items.append(self._call(part))
                case Compaction():
                    items += _compaction(part)
        if self._profile.phase:
            _mark_phases(items)
        return _without_lone_reasoning(items)

    def _call(self, call: ToolCall) -> Json:
        head = {"type": _CALL_TYPES[call.kind], "call_id": self._call_id(call.id)}
        name = self._names.upstream(call.name)
        if call.kind == "custom":
            return {**head, "name": name, "input": call.arguments}
        return {**head, "name": name, "arguments": call.arguments or "{}"}


def _message(role: str, content: list[Json]) -> Json:
    return {"type": "message", "role": role, "content": content}


def _say(items: list[Json], text: str, seam: str = "") -> None:
    """Neighbouring texts of one turn are one message."""
    last = items[-1] if items else None
    if last is not None and last["type"] == "message" and isinstance(last["content"], str):
        last["content"] += seam + text
    elif text:
        items.append({"type": "message", "role": "assistant", "content": text})


def _reasoning(part: Reasoning) -> Iterable[Json]:
    """Nothing is stored there, so an id alone would name nothing; other vendors' reasoning means nothing here."""
    data = part.data if part.carrier == CARRIER and isinstance(part.data, dict) else {}
    members = {name: data.get(name) for name in ("id", "encrypted_content")}
    if all(isinstance(value, str) for value in members.values()):
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        yield {"type": "reasoning", "summary": summary, **members}


def _compaction(part: Compaction) -> Iterable[Json]:
    data = part.data if part.carrier == CARRIER and isinstance(part.data, dict) else {}
    members = {name: data.get(name) for name in ("id", "encrypted_content")}
    if all(isinstance(value, str) for value in members.values()):
        yield {"type": "compaction", **members}
    elif part.text:
        yield _message("user", [{"type": "input_text", "text": f"[Summary of the earlier conversation]\n{part.text}"}])


def _without_lone_reasoning(items: list[Json]) -> list[Json]:
    """OpenAI refuses reasoning that nothing follows."""
    while items and items[-1]["type"] == "reasoning":
        items.pop()
    return items


def _mark_phases(items: list[Json]) -> None:
    """What is said before a call is commentary (gpt-5.3-codex and later)."""
    phase = "final_answer"
    for item in reversed(items):
        if item["type"] in ("function_call", "custom_tool_call"):
            phase = "commentary"
        elif item["type"] == "message":
            item["phase"] = phase


def _web_search(tool: WebSearch) -> Json:
    """https://platform.openai.com/docs/guides/tools-web-search"""
    found: Json = {"type": "web_search"}
    if tool.allowed_domains:
        found["filters"] = {"allowed_domains": list(tool.allowed_domains)}
    if tool.location:
        found["user_location"] = {"type": "approximate", **tool.location}
    return found


def _mcp(tool: McpServer) -> Json:
    found: Json = {"type": "mcp", "server_label": tool.label, "server_url": tool.url}
    if tool.authorization:
        found["authorization"] = tool.authorization
    if tool.allowed_tools is not None:
        found["allowed_tools"] = list(tool.allowed_tools)
    return {**found, "require_approval": "never"}
