"""A conversation as a Responses request (docs/mapping.md 6.1, 6.2, 6.6)."""

from collections.abc import Iterable

import msgspec

from extproc.translate import openai_content, openai_tools
from extproc.translate import openai_members as openai
from extproc.translate.checked import Json, Warnings
from extproc.translate.conversation import (
    Compacting,
    Conversation,
    HostedTool,
    McpServer,
    ServerTool,
    Text,
    Tool,
    ToolChoice,
    WebSearch,
)
from extproc.translate.dialects.responses.write_input import InputWriter
from extproc.translate.names import ToolNames, unique_names
from extproc.translate.pair import Target
from extproc.translate.provider_request import clamped_effort, lose_unmapped
from extproc.translate.translated import WrittenRequest

PATH = "/responses"
# https://platform.openai.com/docs/api-reference/responses/create#responses-create-max_output_tokens: less is refused.
LEAST_TOKENS = 16
_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
# https://platform.openai.com/docs/guides/function-calling#context-free-grammars
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
        self._terms = openai_tools.terms_of(target.profile, _flat)
        self._of_tools: list[str] = []
        """What the system prompt says of tools."""
        self._answer = ""
        """What the client gets without asking the provider."""

    def write(self) -> WrittenRequest:
        """Members in a fixed order, so that equal requests give equal bytes."""
        conversation, profile = self._conversation, self._profile
        lose_unmapped(conversation.unmapped, self._known_members(), self._warnings)
        body: Json = {"model": self._target.model or conversation.model}
        self._tools(body)
        items = InputWriter(conversation, profile, self._names, self._warnings)
        written = items.items()
        prompt = openai.format_prompt(conversation.output_format, profile, self._warnings)
        if instructions := self._instructions(items.hoisted, prompt):
            body["instructions"] = instructions
        body["input"] = written
        effort = self._reasoning(body)
        if text := self._text(openai.written_format(conversation.output_format, profile, self._warnings)):
            body["text"] = text
        limit = openai.bounded_limit(conversation.max_tokens, profile, self._warnings, LEAST_TOKENS)
        if limit is not None:
            body["max_output_tokens"] = limit
        body |= openai.sampling(conversation, profile, effort, self._warnings, top_k=False)
        if conversation.stop is not None and not profile.local_stop:
            self._warnings.add("dropped", conversation.stop.path)
        body |= openai.user(conversation, profile)
        body |= openai.service_tier(conversation, profile, self._warnings)
        self._unchanged(body)
        body |= openai.session_key(conversation, profile) | conversation.prompt_cache
        self._compaction(body)
        self._rest(body)
        body.update(profile.extra)
        return WrittenRequest(
            path=PATH,
            body=openai.encode(body),
            names=self._names.originals,
            max_tokens=limit,
            prefill=items.prefill,
            answer=self._answer,
        )

    def _known_members(self) -> frozenset[str]:
        return _KNOWN | {"mcp_servers"} if self._profile.mcp else _KNOWN

    def _instructions(self, hoisted: Iterable[Text], prompt: str) -> str:
        texts = [*(part.text for part in self._conversation.system), *(part.text for part in hoisted)]
        texts += [*self._of_tools, self._profile.system_suffix, prompt]
        said = [text for text in texts if text]
        return "" if all(text.isspace() for text in said) else openai_content.SEAM.join(said)

    def _unchanged(self, body: Json) -> None:
        """Members that go on as the client wrote them."""
        conversation = self._conversation
        for member in conversation.unmapped:
            if member.name == "moderation":
                body["moderation"] = member.value
        if conversation.metadata is not None:
            body["metadata"] = conversation.metadata.value

    def _rest(self, body: Json) -> None:
        conversation = self._conversation
        include = []
        if conversation.logprobs is not None:
            include.append(_LOGPROBS)
            if conversation.logprobs.value:
                body["top_logprobs"] = conversation.logprobs.value
        # With `store: false` reasoning can come back on the next turn only as what was encrypted here:
        # https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items.
        if self._profile.include_encrypted:
            include.append(_ENCRYPTED)
        if include:
            body["include"] = include
        # Nothing may be kept there that a later request would have to name.
        body["store"] = False
        if conversation.shape.stream:
            # Padding against those who watch the connection, which here is not the client's.
            body |= {"stream": True, "stream_options": {"include_obfuscation": False}}

    def _compaction(self, body: Json) -> None:
        wanted = self._conversation.compaction
        if self._profile.compaction and wanted:
            body["context_management"] = [_compaction(each) for each in wanted]
        for each in () if self._profile.compaction else wanted:
            self._warnings.add("dropped", each.path)

    def _reasoning(self, body: Json) -> str | None:
        thinking = self._conversation.thinking
        effort = clamped_effort(thinking, self._profile, self._warnings)
        reasoning: Json = {"effort": effort} if effort else {}
        # A model that does not reason refuses the member, whatever is in it.
        if effort != "none" and self._profile.efforts and thinking.shown == "yes":
            # OpenAI shows summaries of reasoning only, and only on request.
            reasoning["summary"] = "auto"
        if reasoning:
            body["reasoning"] = reasoning
        return effort

    def _text(self, format: Json) -> Json:
        text: Json = {"format": format} if format else {}
        if self._conversation.verbosity is not None:
            text["verbosity"] = self._conversation.verbosity.value
        return text

    # Tools

    def _tools(self, body: Json) -> None:
        tools: list[Json | msgspec.Raw] = []
        names: list[str] = []
        kept: list[ServerTool] = []
        lost: list[ServerTool] = []
        for tool in self._conversation.tools:
            match tool:
                case Tool():
                    names.append(self._names.upstream(tool.name))
                    tools.append(self._tool(tool, names[-1]))
                case WebSearch() if self._profile.web_search:
                    kept.append(tool)
                    tools.append(_web_search(tool))
                case McpServer() if self._profile.mcp:
                    kept.append(tool)
                    tools.append(_mcp(tool))
                case WebSearch() | McpServer() | HostedTool():
                    lost.append(tool)
                    self._warnings.add("dropped", tool.path, openai_tools.cannot_run(tool))
        unique_names(names)
        self._answer = openai_tools.check_lost_tools(
            self._conversation, self._profile, lost, sent=len(tools), kept=kept
        )
        if tools and not openai_tools.is_withdrawn(self._conversation, self._profile):
            members, note = openai_tools.tool_choice(self._conversation, self._profile, self._warnings, self._choice)
            body |= {"tools": tools, **members}
            self._of_tools.append(note)

    def _tool(self, tool: Tool, name: str) -> Json | msgspec.Raw:
        if tool.kind != "custom":
            function = openai_tools.function(tool, self._terms)
            for word in function.warnings:
                self._warnings.word(word)
            if function.note:
                self._of_tools.append(function.note)
            return function.encoded
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
        if choice.hosted:
            # A search cannot be named as the one tool; of a list with one member the model must take that one.
            return {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}
        if choice.allowed is not None:
            allowed = [self._named(name) for name, _ in choice.allowed]
            return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
        return self._named(choice.name) if choice.name else choice.mode

    def _named(self, name: str) -> Json:
        kinds = {tool.name: tool.kind for tool in self._conversation.client_tools}
        kind = "custom" if kinds.get(name) == "custom" else "function"
        return {"type": kind, "name": self._names.upstream(name)}


def _compaction(wanted: Compacting) -> Json:
    threshold = {} if wanted.threshold is None else {"compact_threshold": wanted.threshold}
    return {"type": "compaction", **threshold}


def _flat(function: Json) -> Json:
    """A function as a tool of Responses. `strict` is always sent: without it OpenAI tries strict mode, and makes
    optional properties required."""
    return {"type": "function", **function}


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
    # Otherwise OpenAI asks for approval by an item, which only a Responses client can answer.
    return {**found, "require_approval": "never"}
