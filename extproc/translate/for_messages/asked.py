"""A translated request, and what reading its answer will need."""

from typing import Literal

from extproc.providers.profiles import Profile
from extproc.translate.pair import Translated

ShowThinking = Literal["yes", "omitted", "no"]


class Asked(Translated, frozen=True, kw_only=True, tag="messages"):
    """A Messages request in the dialect of an OpenAI-type provider."""

    profile: Profile
    nonce: str
    original_names: dict[str, str]
    """Function name upstream -> the client's name, where they differ or are known."""
    toolsets: dict[str, tuple[str, str]]
    """Function name upstream (`computer__left_click`) -> toolset and member."""
    stop_sequences: tuple[str, ...] = ()
    """All that the client named, also those the upstream was not told of."""
    show_thinking: ShowThinking = "no"
    declares_tools: bool = False
    prefill: str = ""
    """Text the answer may repeat, to be cut from its start (profile `prefill: pass`)."""
