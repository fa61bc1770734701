"""A conversation as a Chat Completions request (docs/mapping.md 1, 6.7)."""

from collections.abc import Sequence

from extproc.translate import openai_request as openai
from extproc.translate.conversation import (
    Conversation,
    HostedTool,
    McpServer,
    Text,
    Tool,
    ToolChoice,
    WebSearch,
)
from extproc.translate.dialects.chat.write_effort import write_effort
from extproc.translate.dialects.chat.write_messages import MessageWriter
from extproc.translate.openai_request import ToolNames
from extproc.translate.pair import Target
from extproc.translate.translated import WrittenRequest
from extproc.translate.want import Json
from extproc.translate.warnings import Warnings

PATH = "/chat/completions"
_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
_ENDS_OF_SENTENCES = (". ", ".\n", "\n\n", "\n")


def write_request(conversation: Conversation, target: Target, warnings: Warnings) -> WrittenRequest:
    """Raises Refused, with the path of the fault in the client's body."""
    return _Writer(conversation, target, warnings).write()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, warnings: Warnings) -> None:
        self._conversation = conversation
        self._target = target
        self._profile = target.profile
        self._warnings = warnings
        self._names = ToolNames(target.profile)
        self._of_tools: list[str] = []
        """What the system prompt says of tools: descriptions that are too long for the provider, a call that it cannot
        be made to."""

    def write(self) -> WrittenRequest:
        """Members in a fixed order, so that equal requests give equal bytes."""
        conversation, profile = self._conversation, self._profile
        body: Json = {"model": self._target.model or conversation.model, "messages": []}
        tools = self._tools()
        writer = MessageWriter(conversation, profile, self._names, self._warnings)
        leading, messages = writer.messages()
        declared = self._write_tools(body, tools)
        effort = write_effort(body, conversation.thinking, profile, self._warnings, with_tools=declared)
        self._limits(body)
        body |= openai.sampling(conversation, profile, effort, self._warnings, top_k=profile.top_k)
        self._stop(body)
        body |= openai.user(conversation, profile)
        body |= openai.service_tier(conversation, profile, self._warnings)
        self._format(body)
        self._rest(body)
        head = self._system([*leading, *writer.hoisted])
        body["messages"] = [*head, *messages]
        if writer.continues_final:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        body.update(profile.extra)
        return WrittenRequest(
            path=PATH,
            body=openai.encode(body),
            names=self._names.originals,
            max_tokens=body.get(profile.max_tokens_field),
            prefill=writer.prefill,
        )

    def _system(self, leading: Sequence[Text]) -> list[Json]:
        """The first message: all instructions that do not stand in the midst of the conversation."""
        prompt = openai.format_prompt(self._conversation.output_format, self._profile, self._warnings)
        ours = [text for text in (*self._of_tools, self._profile.system_suffix, prompt) if text]
        parts = [*self._conversation.system, *leading, *(Text(text, "") for text in ours)]
        if not parts:
            return []
        hints = [openai.cache_breakpoint(part.cache, self._profile) for part in parts]
        content: str | list[Json] = openai.joined(parts)
        if any(hints):
            content = [{"type": "text", "text": p.text, **hint} for p, hint in zip(parts, hints, strict=True)]
        return [{"role": self._profile.system_role, "content": content}]

    def _limits(self, body: Json) -> None:
        limit = openai.bounded_limit(self._conversation.max_tokens, self._profile, self._warnings)
        if limit is not None:
            body[self._profile.max_tokens_field] = limit

    def _stop(self, body: Json) -> None:
        stop, profile = self._conversation.stop, self._profile
        if stop is None:
            return
        if profile.stop:
            body["stop"] = list(stop.value[: profile.stop_max])
            if len(stop.value) > profile.stop_max and not profile.local_stop:
                self._warnings.add("approx", stop.path, f"List should have at most {profile.stop_max} items")
        elif not profile.local_stop:
            self._warnings.add("dropped", stop.path)

    def _format(self, body: Json) -> None:
        wanted, mode = self._conversation.output_format, self._profile.structured_output
        if wanted is None or mode == "prompt":
            return
        if wanted.schema is not None and mode == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": openai.json_schema(wanted, self._warnings),
            }
        else:
            body["response_format"] = {"type": "json_object"}

    def _rest(self, body: Json) -> None:
        conversation, profile = self._conversation, self._profile
        openai.lose_unmapped(conversation.unmapped, (), self._warnings)
        if conversation.verbosity is not None and profile.verbosity:
            body["verbosity"] = conversation.verbosity.value
        elif conversation.verbosity is not None:
            self._warnings.add("dropped", conversation.verbosity.path)
        if conversation.logprobs is not None:
            body["logprobs"] = True
            if conversation.logprobs.value:
                body["top_logprobs"] = conversation.logprobs.value
        if conversation.shape.stream:
            body["stream"] = True
            if profile.stream_usage:
                off = {"include_obfuscation": False} if profile.stream_obfuscation_off else {}
                body["stream_options"] = {"include_usage": True, **off}

    # Tools

    def _tools(self) -> list[Json]:
        """Functions in the client's order. Called first: names of tools are settled by their declaration."""
        found: list[Json] = []
        lost = False
        for tool in self._conversation.tools:
            match tool:
                case Tool():
                    found.append(self._function(tool))
                case WebSearch() | McpServer() | HostedTool():
                    lost = True
                    self._warnings.add("dropped", tool.path, "the tool cannot run here")
        openai.unique_names(function["name"] for function in found)
        openai.check_forced_tool(self._conversation.tool_choice, sent=bool(found), lost=lost)
        return found

    def _function(self, tool: Tool) -> Json:
        if tool.kind == "custom":
            return self._custom(tool)
        function = openai.function(tool, self._names.upstream(tool.name), self._warnings)
        if not function["strict"]:
            del function["strict"]
        self._shorten_description(function, tool.path)
        return function

    def _custom(self, tool: Tool) -> Json:
        """Free text as the one member of an object: only OpenAI itself knows custom tools."""
        self._warnings.add("emulated", tool.path.removesuffix(".custom"), "a custom tool takes JSON here")
        grammar = tool.grammar
        syntax = f" ({grammar.syntax})" if grammar is not None and grammar.syntax else ""
        rule = f"The input must follow this grammar{syntax}:\n{grammar.definition}" if grammar is not None else ""
        function: Json = {"name": self._names.upstream(tool.name)}
        if description := openai.SEAM.join(text for text in (tool.description, rule) if text):
            function["description"] = description
        function["parameters"] = _INPUT
        self._shorten_description(function, tool.path)
        return function

    def _shorten_description(self, function: Json, path: str) -> None:
        """The sentences that fit stay; the whole moves to the system prompt, so that no text is lost."""
        limit, text = self._profile.tool_description_max, function.get("description", "")
        if limit is None or len(text) <= limit:
            return
        self._warnings.add("approx", f"{path}.description", f"String should have at most {limit} characters")
        self._of_tools.append(f"# Tool {function['name']}\n{text}")
        ends = [text.rfind(end, 0, limit) for end in _ENDS_OF_SENTENCES]
        cut = next((at + 1 for at in ends if at > 0), limit)
        function["description"] = text[:cut].rstrip()

    def _write_tools(self, body: Json, functions: list[Json]) -> bool:
        """Returns whether any function is declared."""
        choice, profile = self._conversation.tool_choice, self._profile
        if choice is not None and choice.allowed is not None:
            allowed = {self._names.upstream(name) for name, _ in choice.allowed}
            functions = [function for function in functions if function["name"] in allowed]
        if not functions or (choice is not None and self._is_withdrawn(choice)):
            return False
        body["tools"] = [{"type": "function", "function": function} for function in functions]
        if choice is not None and profile.tool_choice:
            sent, note = openai.choice_to_send(choice, profile, self._warnings)
            self._of_tools.append(note)
            body["tool_choice"] = self._choice(sent)
        elif choice is not None and choice.mode != "auto":
            self._warnings.add("dropped", choice.path)
        self._parallel(body)
        return True

    def _is_withdrawn(self, choice: ToolChoice) -> bool:
        """For servers without tool_choice: `none` declares no tools, unless the history holds calls."""
        has_calls = any(getattr(turn, "calls", None) for turn in self._conversation.turns)
        return choice.mode == "none" and not self._profile.tool_choice and not has_calls

    def _choice(self, choice: ToolChoice) -> str | Json:
        if choice.name:
            return {"type": "function", "function": {"name": self._names.upstream(choice.name)}}
        return self._profile.tool_choice_any if choice.mode == "required" else choice.mode

    def _parallel(self, body: Json) -> None:
        parallel = self._conversation.parallel_tool_calls
        if parallel is None or parallel.value:
            return
        if self._profile.parallel_tool_calls:
            body["parallel_tool_calls"] = False
        else:
            self._warnings.add("dropped", parallel.path)
