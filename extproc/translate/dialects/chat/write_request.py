"""A conversation as a Chat Completions request (docs/mapping.md 1, 6.7)."""

from collections.abc import Callable

from extproc.providers.profiles import Profile
from extproc.translate import openai_members as openai
from extproc.translate import openai_tools
from extproc.translate.checked import Warnings, unsupported
from extproc.translate.conversation import (
    Conversation,
    HostedTool,
    McpServer,
    ServerTool,
    Thinking,
    Tool,
    ToolChoice,
    WebSearch,
)
from extproc.translate.dialects.chat.write_messages import MessageWriter
from extproc.translate.names import ToolNames, unique_names
from extproc.translate.openai_tools import Function
from extproc.translate.pair import Json, Target
from extproc.translate.provider_request import clamped_effort, lose_unmapped
from extproc.translate.translated import WrittenRequest

PATH = "/chat/completions"
_NO_TOOLS = (
    "this model takes no function tools on Chat Completions, only on the Responses API: "
    "its provider needs `dialects: [responses]`"
)


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
        self.answer = ""
        """What the client gets without asking the provider."""
        self._of_tools: list[str] = []
        """What the system prompt says of tools: descriptions that are too long for the provider, a call that it cannot
        be made to."""

    def write(self) -> WrittenRequest:
        """Members in a fixed order, so that equal requests give equal bytes."""
        conversation, profile = self._conversation, self._profile
        lose_unmapped(conversation.unmapped, (), self._warnings)
        for wanted in conversation.compaction:
            self._warnings.add("dropped", wanted.path)
        body: Json = {"model": self._target.model or conversation.model, "messages": []}
        tools = self._tools() if conversation.tools or conversation.tool_choice is not None else []
        writer = MessageWriter(conversation, profile, self._names, self._warnings)
        messages = writer.messages()
        declared = self._write_tools(body, tools)
        effort = write_effort(body, conversation.thinking, profile, self._warnings, with_tools=declared)
        if (limit := openai.bounded_limit(conversation.max_tokens, profile, self._warnings)) is not None:
            body[profile.max_tokens_field] = limit
        body |= openai.sampling(conversation, profile, effort, self._warnings, top_k=profile.top_k)
        self._stop(body)
        body |= openai.user(conversation, profile)
        body |= openai.service_tier(conversation, profile, self._warnings)
        if response_format := openai.written_format(conversation.output_format, profile, self._warnings):
            body["response_format"] = _nested(response_format)
        self._answer_options(body)
        body |= openai.session_key(conversation, profile)
        self._stream(body)
        prompt = openai.format_prompt(conversation.output_format, profile, self._warnings)
        notes = [note for note in (*self._of_tools, profile.system_suffix, prompt) if note]
        body["messages"] = writer.with_system(messages, notes)
        if writer.continues_final:
            # vLLM refuses to begin a message and to continue one at once, and by default begins one.
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        body.update(profile.extra)
        return WrittenRequest(
            path=PATH,
            body=openai.encode(body),
            names=self._names.originals,
            max_tokens=body.get(profile.max_tokens_field),
            prefill=writer.prefill,
            answer=self.answer,
        )

    def _stop(self, body: Json) -> None:
        stop, profile = self._conversation.stop, self._profile
        if stop is None:
            return
        if profile.stop:
            # OpenAI takes four: https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop.
            body["stop"] = list(stop.value[: profile.stop_max])
            if len(stop.value) > profile.stop_max and not profile.local_stop:
                self._warnings.add("approx", stop.path, f"List should have at most {profile.stop_max} items")
        elif not profile.local_stop:
            self._warnings.add("dropped", stop.path)

    def _answer_options(self, body: Json) -> None:
        conversation = self._conversation
        if conversation.verbosity is not None and self._profile.verbosity:
            body["verbosity"] = conversation.verbosity.value
        elif conversation.verbosity is not None:
            self._warnings.add("dropped", conversation.verbosity.path)
        if conversation.logprobs is not None:
            body["logprobs"] = True
            if conversation.logprobs.value:
                body["top_logprobs"] = conversation.logprobs.value

    def _stream(self, body: Json) -> None:
        if self._conversation.shape.stream:
            body["stream"] = True
            # Without the member OpenAI counts nothing in a stream; Mistral refuses it, and counts all the same.
            if self._profile.stream_usage:
                # Random padding of every chunk, which hides how long its text is from those who watch the connection.
                # It is of no use to the client, who has another one:
                # https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options.
                off = {"include_obfuscation": False} if self._profile.stream_obfuscation_off else {}
                body["stream_options"] = {"include_usage": True, **off}

    # Tools

    def _tools(self) -> list[Function]:
        """Functions in the client's order. Called first: names of tools are settled by their declaration."""
        terms = openai_tools.terms_of(self._profile, _wrapped)
        found: list[Function] = []
        lost: list[ServerTool] = []
        for tool in self._conversation.tools:
            match tool:
                case Tool():
                    function = openai_tools.function(tool, terms)
                    found.append(function)
                    self._names.declare(tool.name, function.name)
                    if function.note:
                        self._of_tools.append(function.note)
                case WebSearch() | McpServer() | HostedTool():
                    lost.append(tool)
                    self._warnings.add("dropped", tool.path, openai_tools.cannot_run(tool))
        for function in found:
            for word in function.warnings:
                self._warnings.word(word)
        unique_names([function.name for function in found])
        self.answer = openai_tools.check_lost_tools(self._conversation, self._profile, lost, sent=len(found), kept=())
        return found

    def _write_tools(self, body: Json, functions: list[Function]) -> bool:
        """Returns whether any function is declared."""
        choice, profile = self._conversation.tool_choice, self._profile
        if choice is not None and choice.allowed is not None:
            allowed = {self._names.upstream(name) for name, _ in choice.allowed}
            functions = [function for function in functions if function.name in allowed]
        if not functions or openai_tools.is_withdrawn(self._conversation, profile):
            return False
        body["tools"] = [function.encoded for function in functions]
        members, note = openai_tools.tool_choice(self._conversation, profile, self._warnings, self._choice)
        if members.get("parallel_tool_calls"):
            del members["parallel_tool_calls"]  # what servers do anyway, and not all know the member
        body |= members
        self._of_tools.append(note)
        return True

    def _choice(self, choice: ToolChoice) -> str | Json:
        if choice.name:
            return {"type": "function", "function": {"name": self._names.upstream(choice.name)}}
        return self._profile.tool_choice_any if choice.mode == "required" else choice.mode


def _wrapped(function: Json) -> Json:
    """A function as a tool of Chat; without `strict` it is not strict."""
    if not function["strict"]:
        function = {name: value for name, value in function.items() if name != "strict"}
    return {"type": "function", "function": function}


def _nested(format: Json) -> Json:
    """Chat has the members of a format below its type."""
    kind, members = format["type"], dict(format)
    del members["type"]
    return {"type": kind, kind: members} if members else format


# How hard the model shall think, as the servers of the Chat dialect spell it (docs/mapping.md 1.9)

_EffortStyle = Callable[[Json, Thinking, Profile, Warnings], str | None]


def write_effort(
    body: Json, thinking: Thinking, profile: Profile, warnings: Warnings, *, with_tools: bool
) -> str | None:
    """Returns the effort that was sent, or None. Raises Refused for a model that takes functions by the Responses API
    only."""
    if with_tools and not profile.chat_tools:
        raise unsupported("tools", _NO_TOOLS)
    if profile.chat_tools_force_effort_none and with_tools:
        return _force_none(body, thinking, warnings)
    if thinking.effort is None and thinking.budget is None and not thinking.is_on:
        return None
    return _STYLES[profile.reasoning_style](body, thinking, profile, warnings)


def _force_none(body: Json, thinking: Thinking, warnings: Warnings) -> str:
    """gpt-5.4 and later refuse function tools here unless the effort is `none`, also where none is named."""
    if thinking.effort is not None and thinking.effort.value != "none":
        warnings.add("clamped", thinking.effort.path)
    body["reasoning_effort"] = "none"
    return "none"


def _plain(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    level = clamped_effort(thinking, profile, warnings)
    if level is not None:
        body["reasoning_effort"] = level
    return level


def _openrouter(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    if not profile.efforts:
        return clamped_effort(thinking, profile, warnings)
    reasoning: Json
    level = None
    if _is_off(thinking):
        reasoning, level = {"enabled": False}, "none"
    elif thinking.budget is not None:
        # OpenRouter takes a number of tokens or an effort, not both.
        reasoning = {"max_tokens": thinking.budget}
    else:
        level = clamped_effort(thinking, profile, warnings)
        reasoning = {"enabled": True} if level is None else {"effort": level}
    # What is left out of the answer cannot go back with the next turn, where the provider may want it.
    if thinking.shown == "hidden" and profile.reasoning_history == "none":
        reasoning["exclude"] = True
    # https://openrouter.ai/docs/use-cases/reasoning-tokens#controlling-reasoning-tokens
    body["reasoning"] = reasoning
    return level


def _deepseek(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    # https://api-docs.deepseek.com/guides/thinking_mode
    level = "none" if _is_off(thinking) else clamped_effort(thinking, profile, warnings)
    body["thinking"] = {"type": "disabled" if level == "none" else "enabled"}
    if level not in (None, "none"):
        body["reasoning_effort"] = level
    return level


def _template(body: Json, thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    """A chat template knows on and off only."""
    # https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
    off = _is_off(thinking)
    body["chat_template_kwargs"] = {profile.template_switch: not off}
    if thinking.effort is not None and thinking.is_explicit and not off:
        warnings.add("approx", thinking.effort.path)
    return "none" if off else None


def _is_off(thinking: Thinking) -> bool:
    return thinking.effort is not None and thinking.effort.value == "none"


_STYLES: dict[str, _EffortStyle] = {
    "effort": _plain,
    "openrouter": _openrouter,
    "deepseek": _deepseek,
    "template": _template,
}


# Calls with tools that OpenAI's newer models refuse on Chat Completions, and take in the Responses API.

# Members of a turn in which a tool is called, or that carries what led to a call.
_OF_CALLS = frozenset({"tool_calls", "function_call", "tool_call_id", "reasoning_details"})


def accepts(sent: Json, profile: Profile, passes: bool) -> bool:
    """Returns whether a model takes this call on Chat. `sent`: a client's body, in any dialect; `passes`: it goes on as
    it is, so that no effort can be taken from it."""
    # gpt-5.4 and later: "Function tools with reasoning_effort are not supported ... in /v1/chat/completions". Later
    # ones reason where no effort is named.
    reasons = profile.chat_tools_force_effort_none and sent.get("reasoning_effort") != "none"
    refuses_tools = not profile.chat_tools or (passes and reasons)
    return not (refuses_tools and _has_tools(sent))


def _has_tools(sent: Json) -> bool:
    """Whether tools are offered, or were used: what led to a call can be carried on only where it came from."""
    if any(sent.get(name) for name in ("tools", "functions")):
        return True
    turns = [turn for held in sent.values() if isinstance(held, list) for turn in held if isinstance(turn, dict)]
    return any(not _OF_CALLS.isdisjoint(turn) for turn in turns)
