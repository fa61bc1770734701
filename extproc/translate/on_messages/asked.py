"""A translated request, and what reading its answer will need."""

from extproc.providers.profiles import Profile
from extproc.translate.pair import Translated


class Asked(Translated, frozen=True, kw_only=True):
    """An OpenAI client's request in the Messages dialect."""

    profile: Profile
    nonce: str
    now: float
    original_names: dict[str, str]
    """Tool name upstream -> the client's name."""
    custom: frozenset[str] = frozenset()
    """Tools upstream whose input is the client's free text."""
