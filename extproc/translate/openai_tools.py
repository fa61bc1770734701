"""Tools in both of OpenAI's dialects alike (docs/mapping.md 1.7, 1.8)."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from extproc.providers.profiles import Profile
from extproc.translate import names, schema
from extproc.translate.checked import Json, Refused, Strictness, Warnings, unsupported
from extproc.translate.conversation import (
    AssistantTurn,
    Conversation,
    McpServer,
    ServerTool,
    Tool,
    ToolChoice,
    WebSearch,
)
from extproc.translate.provider_request import CALL_ONE, CALL_THIS, CUSTOM_PARAMETERS, custom_description

_SENTENCE = re.compile(r"([.!?])\s")

Wrap = Callable[[Json], Json]
"""Makes a tool of the provider's dialect from a function: name, description, parameters, strict (bool)."""


class Function(NamedTuple):
    name: str
    """The provider's name of the tool."""
    encoded: msgspec.Raw
    """The whole tool, as JSON."""
    warnings: tuple[str, ...]
    note: str
    """For the system prompt: a description that is too long for the provider, or empty."""


class Terms(NamedTuple):
    """What the provider demands of a function."""

    name_max: int
    description_max: int | None
    strictness: Strictness
    wrap: Wrap
    """A function of a module, since what it makes is remembered."""


def terms_of(profile: Profile, wrap: Wrap) -> Terms:
    return Terms(profile.tool_name_max, profile.tool_description_max, profile.strictness, wrap)


def function(tool: Tool, terms: Terms) -> Function:
    """A custom tool's free text becomes the one member of an object. Raises Refused for a schema that cannot be
    repaired."""
    found: Function | None = tool.written.get(terms)
    if found is None:
        found = tool.written[terms] = _function(tool, terms)
    return found


def _function(tool: Tool, terms: Terms) -> Function:
    warnings = Warnings(terms.strictness)
    name = names.tool_name(tool.name, terms.name_max)
    # Some servers refuse descriptions beyond a number of characters, and Claude Code's are long.
    whole = _description(tool, warnings)
    shortened, note = _shortened(whole, terms.description_max), ""
    if shortened != whole:
        problem = f"String should have at most {terms.description_max} characters"
        warnings.add("approx", f"{tool.path}.description", problem)
        note = f"# Tool {name}\n{whole}"
    found: Json = {"name": name}
    if shortened:
        found["description"] = shortened
    found["parameters"] = CUSTOM_PARAMETERS if tool.kind == "custom" else _parameters(tool, warnings)
    found["strict"] = bool(tool.strict) and schema.fits_strict(found["parameters"])
    if tool.strict and not found["strict"]:
        warnings.add("dropped", f"{tool.path}.strict", "the schema does not suit the upstream's strict mode")
    return Function(name, msgspec.Raw(msgspec.json.encode(terms.wrap(found))), warnings.items, note)


def _description(tool: Tool, warnings: Warnings) -> str:
    return custom_description(tool, warnings) if tool.kind == "custom" else tool.description


def _shortened(text: str, limit: int | None) -> str:
    """The sentences that fit, else as much of the first one as does."""
    if limit is None or len(text) <= limit:
        return text
    # The model should not read half a sentence; the whole text stands in the system prompt.
    ends = [found.end(1) for found in _SENTENCE.finditer(text, 0, limit + 1)]
    return text[: max((end for end in ends if end <= limit), default=limit)]


def _parameters(tool: Tool, warnings: Warnings) -> Json:
    where = f"{tool.path}.{tool.schema_name}"
    repaired = schema.repair(tool.parameters or {}, where)
    if repaired.changed_meaning:
        warnings.add("approx", where, "the schema must be an object without alternatives at its top")
    return repaired.schema


# What the model may and must call


def tool_choice(
    conversation: Conversation, profile: Profile, warnings: Warnings, spell: Callable[[ToolChoice], str | Json]
) -> tuple[Json, str]:
    """The members `tool_choice` and `parallel_tool_calls`, as far as the model takes them, and what the system prompt
    says for a choice to which it cannot be made. `spell`: how the dialect writes a choice."""
    choice, parallel = conversation.tool_choice, conversation.parallel_tool_calls
    members: Json = {}
    note = ""
    # Servers without the member take `auto` for granted, so that nothing is lost with it.
    if choice is not None and profile.tool_choice:
        choice, note = _possible_choice(choice, profile, warnings)
        members["tool_choice"] = spell(choice)
    elif choice is not None and choice.mode != "auto":
        warnings.add("dropped", choice.path.partition(".")[0])
    if parallel is not None and profile.parallel_tool_calls:
        members["parallel_tool_calls"] = parallel.value
    elif parallel is not None and not parallel.value:
        # For a Messages client it is a member of the choice, which may be lost as a whole.
        warnings.add("dropped", parallel.path if profile.tool_choice else parallel.path.partition(".")[0])
    return members, note


def is_withdrawn(conversation: Conversation, profile: Profile) -> bool:
    """For servers without tool_choice: `none` declares no tools, unless the history holds calls."""
    choice = conversation.tool_choice
    if profile.tool_choice or choice is None or choice.mode != "none":
        return False
    return not any(isinstance(turn, AssistantTurn) and turn.calls for turn in conversation.turns)


def _possible_choice(choice: ToolChoice, profile: Profile, warnings: Warnings) -> tuple[ToolChoice, str]:
    if profile.forced_tool_choice or (choice.mode != "required" and not choice.name):
        return choice, ""
    warnings.add("emulated", choice.path.partition(".")[0], "this model cannot be made to call a tool")
    note = CALL_THIS.format(choice.name) if choice.name else CALL_ONE
    return msgspec.structs.replace(choice, mode="auto", name=""), note


def check_lost_tools(
    conversation: Conversation, profile: Profile, lost: Sequence[ServerTool], *, sent: int, kept: Sequence[ServerTool]
) -> str:
    """Raises Refused where a choice leaves only tools that cannot run here, since dropping it would be a lie.

    Returns what the client gets instead of the provider's answer: empty, but for a client that wants nothing else than
    a search of the web. `sent`: number of tools that the provider gets. `kept`: those that it runs itself."""
    choice = conversation.tool_choice
    answer = conversation.without_search if profile.strictness != "strict" else ""
    if choice is not None and choice.hosted and not any(choice.hosted in _words(tool) for tool in kept):
        is_search = any(isinstance(tool, WebSearch) and choice.hosted in _words(tool) for tool in lost)
        problem = f"server tool '{choice.hosted[:64]}' cannot run with this model"
        raise _refused_or_answered(choice.path, problem, answer if is_search else "")
    if not lost or sent:
        return ""
    if any(not isinstance(tool, WebSearch) for tool in lost):
        answer = ""
    if choice is not None and choice.mode == "required":
        known_as = ", ".join(sorted(_words(tool)[0] for tool in lost))
        raise _refused_or_answered(choice.path, f"none of the tools can run with this model: {known_as}", answer)
    return answer


def _refused_or_answered(path: str, problem: str, answer: str) -> Refused:
    return Refused(msgspec.structs.replace(unsupported(path, problem).rejection, answer=answer))


def cannot_run(tool: ServerTool) -> str:
    """The problem, for a warning."""
    return f"tool type '{'mcp' if isinstance(tool, McpServer) else tool.type[:64]}' cannot run here"


def _words(tool: ServerTool) -> tuple[str, ...]:
    """What the client may call it."""
    if isinstance(tool, McpServer):
        return (tool.label,)
    return (tool.name, tool.type) if tool.name else (tool.type,)
