"""What one translation of a Responses request knows while it runs."""

from extproc.translate.on_messages import draft
from extproc.translate.pair import Json, Target

SHELL = "local_shell"
_SEAM = "__"


class Draft(draft.Draft):
    __slots__ = ("added_tools", "format", "namespaces", "reasoning", "shell")

    def __init__(self, body: Json, target: Target) -> None:
        super().__init__(body, target)
        self.namespaces: dict[str, tuple[str, str]] = {}
        self.shell = ""
        self.added_tools: list[tuple[Json, str]] = []
        """Tools that were declared amid the input, with their paths."""
        self.reasoning: tuple[Json, str] = ({}, "reasoning")
        """The object that speaks of effort last, and its path."""
        self.format: tuple[Json, str] = ({}, "text.format")

    def joined(self, namespace: str | None, name: str) -> str:
        """One name for both: Anthropic knows no namespaces."""
        if not namespace:
            return name
        whole = f"{namespace}{_SEAM}{name}"
        self.namespaces[self.tool_name(whole)] = (namespace, name)
        return whole

    def shell_name(self) -> str:
        self.shell = self.tool_name(SHELL)
        return SHELL
