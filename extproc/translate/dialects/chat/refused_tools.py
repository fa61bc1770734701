"""Calls with tools that OpenAI's newer models refuse on Chat Completions, and take in the Responses API."""

from extproc.providers.profiles import Profile
from extproc.translate.pair import Json

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
