"""What each dialect does alike when it writes a request for a provider."""

from collections.abc import Collection, Iterable

from extproc.providers.profiles import Profile
from extproc.translate.checked import Json, Warnings, unsupported
from extproc.translate.conversation import LEVELS, Thinking, Tool, Unmapped

CUSTOM_PARAMETERS: Json = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
"""The parameters that stand for a custom tool where the provider has none: its free text is the one member."""
CALL_ONE = "Call at least one of the tools in your next message."
CALL_THIS = "Call the tool `{}` in your next message."
"""What the system prompt says where a model cannot be made to call a tool (docs/mapping.md 1.9)."""


def lose_unmapped(unmapped: Iterable[Unmapped], known: Collection[str], warnings: Warnings) -> None:
    """Reports or refuses the members that this provider has no place for."""
    for member in unmapped:
        if member.name in known or member.loss == "drop":
            continue
        if member.loss == "reject":
            raise unsupported(member.path, member.problem)
        warnings.add("dropped", member.path, member.problem)


def custom_description(tool: Tool, warnings: Warnings) -> str:
    """The description of a custom tool whose grammar, if it has one, only words can say."""
    warnings.add("emulated", tool.path.removesuffix(".custom"), "a custom tool takes JSON here")
    if tool.grammar is None:
        return tool.description
    syntax = f" ({tool.grammar.syntax})" if tool.grammar.syntax else ""
    rule = f"The input must follow this grammar{syntax}:\n{tool.grammar.definition}"
    return f"{tool.description}\n\n{rule}" if tool.description else rule


def nearest(level: str, allowed: Iterable[str]) -> str:
    """The level of effort itself, else the next one below that is allowed, else above. At least one is allowed."""
    rank, ranks = LEVELS.index(level), sorted(map(LEVELS.index, allowed))
    # Less effort than was asked for costs less and answers sooner; more might surprise by its price.
    return LEVELS[max((n for n in ranks if n <= rank), default=ranks[0])]


def clamped_effort(thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    """The nearest level of effort that the model has: downwards, else upwards (docs/mapping.md 1.9)."""
    wanted = thinking.effort
    if wanted is None:
        return None
    if not profile.efforts:
        if thinking.is_explicit:
            warnings.add("dropped", wanted.path)
        return None
    found = nearest(wanted.value, profile.efforts)
    if found != wanted.value:
        warnings.add("clamped", wanted.path)
    return found
