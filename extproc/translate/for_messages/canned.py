"""Functions for the tools whose schema only Claude knows: the client runs them as before.

Member names and types follow the inputs in Anthropic's Python SDK, so the client understands the calls.
"""

from typing import Any

import msgspec

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
INT: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXTS: Schema = {"type": "array", "items": TEXT}
POINT: Schema = {"type": "array", "items": INT, "minItems": 2, "maxItems": 2}
REGION: Schema = {"type": "array", "items": INT, "minItems": 4, "maxItems": 4}
DIRECTION: Schema = {"type": "string", "enum": ["up", "down", "left", "right"]}


class Canned(msgspec.Struct, frozen=True):
    """A function by its description and members."""

    description: str
    required: Schema
    optional: Schema = {}

    def parameters(self) -> Schema:
        return {
            "type": "object",
            "properties": {**self.required, **self.optional},
            "required": list(self.required),
        }


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


BASH = Canned(
    "Run commands in a persistent bash shell.",
    {},
    {
        "command": _said(TEXT, "The bash command to run."),
        "restart": {"type": "boolean", "description": "Restart the shell instead of running a command."},
    },
)


def _editor(*more_commands: str, inserts: str) -> Canned:
    insert = {"insert_text": _said(TEXT, "Text to insert, for insert.")} if inserts == "insert_text" else {}
    new_str = "Replacement for str_replace." if insert else "Replacement for str_replace, or text to insert."
    return Canned(
        "View, create and edit text files.",
        {
            "command": _one_of("view", "create", "str_replace", "insert", *more_commands),
            "path": _said(TEXT, "Path of the file or directory."),
        },
        {
            "file_text": _said(TEXT, "Content of the file, for create."),
            "old_str": _said(TEXT, "Text to replace; must occur exactly once."),
            "new_str": _said(TEXT, new_str),
            "insert_line": _said(INT, "Insert after this line; 0 is the start of the file."),
            **insert,
            "view_range": _said(POINT, "First and last line to view; -1 is the end of the file."),
        },
    )


# Pages of the vendor disagree on what insert calls its text; it changed with the version.
_OLD_EDITOR = _editor("undo_edit", inserts="new_str")
_NEW_EDITOR = _editor(inserts="insert_text")

_MEMORY = Canned(
    "Read and edit files in the memory directory, which outlasts the conversation.",
    {"command": _one_of("view", "create", "str_replace", "insert", "delete", "rename")},
    {
        "path": _said(TEXT, "Path, for every command but rename."),
        "view_range": _said(POINT, "First and last line to view."),
        "file_text": _said(TEXT, "Content of the file, for create."),
        "old_str": _said(TEXT, "Text to replace, for str_replace."),
        "new_str": _said(TEXT, "Its replacement, for str_replace."),
        "insert_line": _said(INT, "Insert after this line."),
        "insert_text": _said(TEXT, "Text to insert, for insert."),
        "old_path": _said(TEXT, "Present path, for rename."),
        "new_path": _said(TEXT, "New path, for rename."),
    },
)

_ACTIONS = (
    "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click",
    "screenshot", "cursor_position",
)  # fmt: skip
_MORE_ACTIONS = (
    *_ACTIONS, "left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click",
)  # fmt: skip


def computer(kind: str, width: int, height: int, *, zoom: bool) -> Canned:
    """The computer tool of one version, for a display of this size."""
    actions = _ACTIONS if kind == "computer_20241022" else _MORE_ACTIONS
    optional = {"coordinate": _said(POINT, "x and y in pixels."), "text": _said(TEXT, "Text to type, or key names.")}
    if actions is _MORE_ACTIONS:
        optional |= {
            "scroll_direction": DIRECTION,
            "scroll_amount": _said(INT, "Clicks of the wheel."),
            "duration": _said(NUMBER, "Seconds, for hold_key and wait."),
        }
    optional["start_coordinate"] = _said(POINT, "Where left_click_drag begins.")
    if zoom:
        actions = (*actions, "zoom")
        optional["region"] = _said(REGION, "x0, y0, x1, y1 to zoom into.")
    description = f"Use the mouse and keyboard of a computer and see its screen of {width} x {height} pixels."
    return Canned(description, {"action": _one_of(*actions)}, optional)


FIXED: dict[str, tuple[str, Canned, bool]] = {
    "bash_20241022": ("bash", BASH, True),
    "bash_20250124": ("bash", BASH, True),
    "text_editor_20241022": ("str_replace_editor", _OLD_EDITOR, False),
    "text_editor_20250124": ("str_replace_editor", _OLD_EDITOR, False),
    "text_editor_20250429": ("str_replace_based_edit_tool", _NEW_EDITOR, False),
    "text_editor_20250728": ("str_replace_based_edit_tool", _NEW_EDITOR, False),
    "memory_20250818": ("memory", _MEMORY, False),
}
"""Tool type -> its name, its function, and whether Claude is known to use it better than others."""

COMPUTERS = frozenset(("computer_20241022", "computer_20250124", "computer_20251124"))
