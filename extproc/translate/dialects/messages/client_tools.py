"""Functions in the place of tools whose schema only Claude knows; the client runs them as before.

Names and types of members follow the inputs in Anthropic's Python SDK, so that clients understand the calls. A toolset
is one tool in a Messages request and a function for each of its members here (`computer__left_click`).
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


class ClientTool(msgspec.Struct, frozen=True):
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


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


# https://platform.claude.com/docs/en/agents-and-tools/tool-use/bash-tool
BASH = ClientTool(
    "Run commands in a persistent bash shell.",
    {},
    {
        "command": _described(TEXT, "The bash command to run."),
        "restart": {"type": "boolean", "description": "Restart the shell instead of running a command."},
    },
)


def _editor(*more_commands: str, inserts: str) -> ClientTool:
    insert = {"insert_text": _described(TEXT, "Text to insert, for insert.")} if inserts == "insert_text" else {}
    new_str = "Replacement for str_replace." if insert else "Replacement for str_replace, or text to insert."
    return ClientTool(
        "View, create and edit text files.",
        {
            "command": _one_of("view", "create", "str_replace", "insert", *more_commands),
            "path": _described(TEXT, "Path of the file or directory."),
        },
        {
            "file_text": _described(TEXT, "Content of the file, for create."),
            "old_str": _described(TEXT, "Text to replace; must occur exactly once."),
            "new_str": _described(TEXT, new_str),
            "insert_line": _described(INT, "Insert after this line; 0 is the start of the file."),
            **insert,
            "view_range": _described(POINT, "First and last line to view; -1 is the end of the file."),
        },
    )


# Pages of the vendor disagree on what insert calls its text; it changed with the version.
_OLD_EDITOR = _editor("undo_edit", inserts="new_str")
_NEW_EDITOR = _editor(inserts="insert_text")

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/memory-tool
_MEMORY = ClientTool(
    "Read and edit files in the memory directory, which outlasts the conversation.",
    {"command": _one_of("view", "create", "str_replace", "insert", "delete", "rename")},
    {
        "path": _described(TEXT, "Path, for every command but rename."),
        "view_range": _described(POINT, "First and last line to view."),
        "file_text": _described(TEXT, "Content of the file, for create."),
        "old_str": _described(TEXT, "Text to replace, for str_replace."),
        "new_str": _described(TEXT, "Its replacement, for str_replace."),
        "insert_line": _described(INT, "Insert after this line."),
        "insert_text": _described(TEXT, "Text to insert, for insert."),
        "old_path": _described(TEXT, "Present path, for rename."),
        "new_path": _described(TEXT, "New path, for rename."),
    },
)

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/computer-use-tool#available-actions
_ACTIONS = (
    "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click",
    "screenshot", "cursor_position",
)  # fmt: skip
_MORE_ACTIONS = (
    *_ACTIONS, "left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click",
)  # fmt: skip


def computer(kind: str, width: int, height: int, *, zoom: bool) -> ClientTool:
    """The computer tool of one version, for a display of this size."""
    actions = _ACTIONS if kind == "computer_20241022" else _MORE_ACTIONS
    optional = {
        "coordinate": _described(POINT, "x and y in pixels."),
        "text": _described(TEXT, "Text to type, or key names."),
    }
    if actions is _MORE_ACTIONS:
        optional |= {
            "scroll_direction": DIRECTION,
            "scroll_amount": _described(INT, "Clicks of the wheel."),
            "duration": _described(NUMBER, "Seconds, for hold_key and wait."),
        }
    optional["start_coordinate"] = _described(POINT, "Where left_click_drag begins.")
    if zoom:
        actions = (*actions, "zoom")
        optional["region"] = _described(REGION, "x0, y0, x1, y1 to zoom into.")
    description = f"Use the mouse and keyboard of a computer and see its screen of {width} x {height} pixels."
    return ClientTool(description, {"action": _one_of(*actions)}, optional)


# A type of Anthropic's fixes the tool's name, too; the client knows a call by it.
FIXED: dict[str, tuple[str, ClientTool, bool]] = {
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


# Toolsets

# Members of toolsets take a point of the screen or a reference that reading the page has given.
_SPOT: Schema = {
    "type": "object",
    "properties": {"type": {"type": "string", "const": "coordinate"}, "x": INT, "y": INT},
    "required": ["type", "x", "y"],
}
_ELEMENT: Schema = {
    "type": "object",
    "properties": {"type": {"type": "string", "const": "ref"}, "ref": TEXT},
    "required": ["type", "ref"],
}
_TARGET: Schema = {"anyOf": [_SPOT, _ELEMENT]}
_VALUE: Schema = {"anyOf": [TEXT, {"type": "number"}, {"type": "boolean"}]}
_TAB: Schema = {"tab_id": TEXT}
_HELD: Schema = {"modifiers": TEXT, **_TAB}
_CLICK: Schema = {"coordinate": POINT, "text": TEXT}

_COMPUTER_TOOLS = {
    "key": ClientTool("Press a key or a combination such as ctrl+s.", {"text": TEXT}, {"repeat": INT}),
    "hold_key": ClientTool("Hold a key or combination down for some seconds.", {"text": TEXT, "duration": INT}),
    "type": ClientTool("Type text on the keyboard.", {"text": TEXT}),
    "cursor_position": ClientTool("Tell where the cursor is, in pixels.", {}),
    "mouse_move": ClientTool("Move the cursor without clicking.", {"coordinate": POINT}),
    "left_mouse_down": ClientTool("Press the left mouse button and hold it.", {}),
    "left_mouse_up": ClientTool("Release the left mouse button.", {}),
    "left_click": ClientTool("Click with the left button, at the cursor if no coordinate is given.", {}, _CLICK),
    "left_click_drag": ClientTool(
        "Drag from start_coordinate to coordinate.", {"start_coordinate": POINT, "coordinate": POINT}, {"text": TEXT}
    ),
    "right_click": ClientTool("Click with the right button, at the cursor if no coordinate is given.", {}, _CLICK),
    "middle_click": ClientTool("Click with the middle button, at the cursor if no coordinate is given.", {}, _CLICK),
    "double_click": ClientTool("Double-click, at the cursor if no coordinate is given.", {}, _CLICK),
    "triple_click": ClientTool("Triple-click, at the cursor if no coordinate is given.", {}, _CLICK),
    "scroll": ClientTool("Turn the mouse wheel.", {"scroll_direction": DIRECTION, "scroll_amount": INT}, _CLICK),
    "wait": ClientTool("Wait some seconds.", {"duration": INT}),
    "screenshot": ClientTool("Take a picture of the screen.", {}),
    "zoom": ClientTool("Take an enlarged picture of a part of the screen (x0, y0, x1, y1).", {"region": REGION}),
}

_BROWSER_TOOLS = {
    "navigate": ClientTool("Open a URL, or go back, forward or reload.", {"url": TEXT}, _TAB),
    "list_tabs": ClientTool("List the open tabs with id, title and URL.", {}),
    "new_tab": ClientTool("Open an empty tab and return its id.", {}),
    "switch_tab": ClientTool("Make a tab the one that calls without tab_id act on.", {"tab_id": TEXT}),
    "close_tab": ClientTool("Close a tab.", {"tab_id": TEXT}),
    "read_page": ClientTool(
        "Return the page as a tree of accessible elements, whose references serve as targets.",
        {},
        {"depth": INT, "filter": {"type": "string", "enum": ["all", "interactive"]}, "ref": TEXT, **_TAB},
    ),
    "get_page_text": ClientTool("Return the text a reader of the page sees.", {}, _TAB),
    "read_console": ClientTool("Return the console output since the last call.", {}, _TAB),
    "read_network": ClientTool("Return the network requests since the last call.", {}, _TAB),
    "find": ClientTool("Find elements by a description in plain words.", {"query": TEXT}, _TAB),
    "form_input": ClientTool("Set the value of a form field.", {"target": _ELEMENT, "value": _VALUE}, _TAB),
    "file_upload": ClientTool(
        "Choose files for a file field; paths or document_ids must be given.",
        {"target": _ELEMENT},
        {"paths": TEXTS, "document_ids": TEXTS, **_TAB},
    ),
    "scroll_to": ClientTool("Scroll until an element is in view.", {"target": _ELEMENT}, _TAB),
    "screenshot": ClientTool("Take a picture of the page.", {}, _TAB),
    "zoom": ClientTool("Take an enlarged picture of a part of the page (x0, y0, x1, y1).", {"region": REGION}, _TAB),
    "left_click": ClientTool("Click a point or an element.", {"target": _TARGET}, _HELD),
    "right_click": ClientTool("Click a point or an element with the right button.", {"target": _TARGET}, _HELD),
    "middle_click": ClientTool("Click a point or an element with the middle button.", {"target": _TARGET}, _HELD),
    "double_click": ClientTool("Double-click a point or an element.", {"target": _TARGET}, _HELD),
    "triple_click": ClientTool("Triple-click a point or an element.", {"target": _TARGET}, _HELD),
    "hover": ClientTool("Move the cursor over a point or an element.", {"target": _TARGET}, _TAB),
    "left_click_drag": ClientTool("Drag from one point to another.", {"from": _SPOT, "target": _SPOT}, _TAB),
    "left_mouse_down": ClientTool("Press the left mouse button at a point and hold it.", {"target": _SPOT}, _TAB),
    "left_mouse_up": ClientTool("Release the left mouse button at a point.", {"target": _SPOT}, _TAB),
    "mouse_move": ClientTool("Move the pointer to a point without clicking.", {"target": _SPOT}, _TAB),
    "scroll": ClientTool(
        "Scroll at a point.", {"target": _SPOT, "scroll_direction": DIRECTION}, {"scroll_amount": INT, **_TAB}
    ),
    "type": ClientTool("Type text where the focus is.", {"text": TEXT}, _TAB),
    "key": ClientTool("Press a key or a chord such as ctrl+a.", {"text": TEXT}, {"repeat": INT, **_TAB}),
    "hold_key": ClientTool("Hold a key or chord down for some seconds.", {"text": TEXT, "duration": NUMBER}, _TAB),
    "wait": ClientTool("Wait some seconds.", {"duration": NUMBER}, _TAB),
    "javascript_exec": ClientTool(
        "Run JavaScript in the page; its last expression is the result.", {"text": TEXT}, _TAB
    ),
}

TOOLSETS: dict[str, tuple[str, dict[str, ClientTool]]] = {
    "computer_toolset_20260801": ("computer", _COMPUTER_TOOLS),
    "browser_toolset_20260801": ("browser", _BROWSER_TOOLS),
}
"""Tool type -> the toolset's name and its members."""
