"""What one translation knows while it runs."""

from extproc.providers.profiles import Profile
from extproc.translate import names
from extproc.translate.pair import Json, Target
from extproc.translate.warnings import Warnings


class Draft:
    """The request on its way: the client's body, the target, and what the parts found out for each other."""

    __slots__ = (
        "betas", "body", "custom", "original_names", "profile", "system", "target", "upstream", "warnings",
    )  # fmt: skip

    def __init__(self, body: Json, target: Target) -> None:
        self.body = body
        self.target = target
        self.profile: Profile = target.profile
        self.warnings = Warnings(target.profile.strictness)
        self.upstream: Json = {}
        self.original_names: dict[str, str] = {}
        self.custom: set[str] = set()
        self.betas: list[str] = []
        """For `anthropic-beta`, besides those of the profile and the client."""
        self.system: list[tuple[str, Json]] = []
        """Text blocks of the system prompt, each with the path of its message."""

    def tool_name(self, name: str) -> str:
        """The upstream's name of a tool; remembered for the answer."""
        short = names.tool_name(name, self.profile.tool_name_max)
        self.original_names.setdefault(short, name)
        return short
