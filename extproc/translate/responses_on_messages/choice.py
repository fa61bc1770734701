"""A Responses request's choice of a tool: the members stand beside the type (mapping 6.5)."""

from extproc.translate import want
from extproc.translate.on_messages import choice
from extproc.translate.on_messages.toolbox import Declared
from extproc.translate.pair import Json
from extproc.translate.responses_on_messages.draft import Draft
from extproc.translate.responses_on_messages.tools import WEB_SEARCH
from extproc.translate.want import unsupported

# https://platform.openai.com/docs/api-reference/responses/create#responses-create-tool_choice
_HOSTED = (
    "apply_patch", "code_interpreter", "computer", "computer_use", "computer_use_preview", "file_search",
    "image_generation", "local_shell", "mcp", "programmatic_tool_calling", "shell", "tool_search", "web_search",
    "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
)  # fmt: skip


class _Flat:
    kinds: tuple[str, ...] = ("function", "custom", *_HOSTED)

    def __init__(self, draft: Draft, declared: Declared) -> None:
        self._draft = draft
        self._declared = declared

    def holder(self, choice: Json, _kind: str, path: str) -> tuple[Json, str]:
        return choice, path

    def name(self, tool: Json, path: str) -> tuple[str, str]:
        kind = want.text(tool, "type", path)
        if kind in ("function", "custom"):
            namespace = want.optional_text(tool, "namespace", path)
            return self._draft.joined(namespace, want.text(tool, "name", path)), f"{path}.name"
        if kind == "mcp" and "mcp_servers" in self._draft.upstream:
            raise unsupported(path, "the tools of a server cannot be chosen among others")
        name = WEB_SEARCH if kind.startswith(WEB_SEARCH) else kind
        return name if name in self._declared.names else "", path


def apply(draft: Draft, declared: Declared) -> bool:
    """Writes tool_choice; returns whether a tool is forced."""
    return choice.apply(draft, declared, _Flat(draft, declared))
