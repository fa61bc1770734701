"""A request that passed, and what reading its answer will need."""

from extproc.providers.profiles import Profile
from extproc.translate.pair import Translated


class Passed(Translated, frozen=True, kw_only=True, tag="same_dialect"):
    profile: Profile
    choices: int = 1
    """Chat: how many answers were asked for."""
    hide_usage: bool = False
    """Chat: the usage was asked for by us, so its chunk is not for the client."""
