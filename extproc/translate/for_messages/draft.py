"""What one translation knows while it runs."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from extproc.providers.profiles import Profile
from extproc.translate import names
from extproc.translate.pair import Target
from extproc.translate.want import Json
from extproc.translate.warnings import Warnings

Part = dict[str, Any]


class Hosted(NamedTuple):
    """A tool that the upstream runs itself, and how the model is made to take it."""

    tool: Json
    choice: Json | None = None


class Draft(ABC):
    """The request on its way: the client's body, the target, and what the parts found out for each other.
    A pair's own draft says what its upstream's dialect spells in another way."""

    file_urls: ClassVar[bool] = False
    """A document may be sent by its URL."""
    least_tokens: ClassVar[int] = 1
    """The smallest limit that the upstream takes."""

    __slots__ = (
        "body", "breakpoints", "counting", "effort", "hoisted", "in_last_turn", "original_names", "profile",
        "searches_only", "target", "tool_changes", "tool_notes", "toolsets", "upstream", "warnings",
    )  # fmt: skip

    def __init__(self, body: Json, target: Target, *, counting: bool = False) -> None:
        self.body = body
        self.target = target
        self.profile: Profile = target.profile
        self.counting = counting
        """Only the size is wanted; what matters for generating is not checked."""
        self.warnings = Warnings(target.profile.strictness)
        self.upstream: Json = {}
        self.original_names: dict[str, str] = {}
        self.toolsets: dict[str, tuple[str, str]] = {}
        self.hoisted: list[str] = []
        """Texts of system turns that move to the system prompt."""
        self.in_last_turn = False
        """What is read belongs to the user's last turn, which the model has not seen yet."""
        self.effort: tuple[str, str] | None = None
        """The last effort a message asked for, and its path."""
        self.searches_only = False
        """All the client's tools search the web, and the upstream has no such tool."""
        self.tool_notes: list[str] = []
        """Descriptions that are too long for the upstream's tools, for the system prompt."""
        self.tool_changes: list[tuple[Json, str]] = []
        self.breakpoints: list[Part] = []

    @property
    @abstractmethod
    def limit_member(self) -> str:
        """The upstream's name for `max_tokens`."""

    @abstractmethod
    def stream_members(self) -> Json:
        """What goes with `stream`."""

    @staticmethod
    @abstractmethod
    def tool(function: Json) -> Json:
        """A function as a tool. Static, since what it makes is remembered beyond the request."""

    @abstractmethod
    def choice(self, function: str) -> Json:
        """The function the model must call."""

    def hosted(self, definition: Json, kind: str, path: str) -> "Hosted | None":
        """The upstream's own tool in the place of one that runs at Anthropic; None when it has none."""
        return None

    def carries_edit(self, edit: Json, path: str) -> bool:
        """Whether the upstream itself edits the context as the client wants it; then this is written."""
        return False

    def resumes(self, compaction: Json) -> bool:
        """Whether the upstream knows what a compaction block stands for; else its text replaces what was before."""
        return False

    @property
    def reaches_mcp(self) -> bool:
        """Whether the upstream itself connects to MCP servers."""
        return False

    def stays(self, part: Part) -> bool:
        """Whether what is no text stays in the result of its tool; else it moves to the user message behind it."""
        return part["type"] == "image_url" and self.profile.tool_result_images == "inline"

    def function_name(self, name: str, toolset: str | None = None) -> str:
        """The upstream's name of a tool the history mentions; remembered for the answer."""
        limit = self.profile.tool_name_max
        if toolset is None:
            short = names.tool_name(name, limit)
            self.original_names.setdefault(short, name)
            return short
        short = names.tool_name(f"{toolset}__{name}", limit)
        self.toolsets.setdefault(short, (toolset, name))
        return short

    def history_id(self, id: str) -> str:
        return names.history_id(id, self.profile.tool_id_max, self.profile.tool_id_style)

    def mark_cached(self, part: Part, block: Json) -> Part:
        """Carries a cache hint of the client over to the part, where the profile wants that."""
        hint = block.get("cache_control")
        if self.profile.map_cache_control and isinstance(hint, dict):
            part["prompt_cache_breakpoint"] = (
                {"mode": "explicit", "ttl": "12h"} if hint.get("ttl") == "1h" else {"mode": "explicit"}
            )
            self.breakpoints.append(part)
        return part

    def keep_last_breakpoints(self, limit: int = 4) -> None:
        """OpenAI takes four."""
        for part in self.breakpoints[:-limit]:
            part.pop("prompt_cache_breakpoint", None)

    def strict_about_2026_10_21(self) -> bool:
        """Whether the client speaks the API version that gave up some members, and wants to be told."""
        version = self.target.headers.get("anthropic-version", "")
        return self.profile.strictness == "strict" and version >= "2026-10-21"
