"""Toolsets: one tool in a Messages request, one function per member upstream (`computer__left_click`)."""

from extproc.translate.for_messages.canned import DIRECTION, INT, NUMBER, POINT, REGION, TEXT, TEXTS, Canned, Schema

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

_COMPUTER = {
    "key": Canned("Press a key or a combination such as ctrl+s.", {"text": TEXT}, {"repeat": INT}),
    "hold_key": Canned("Hold a key or combination down for some seconds.", {"text": TEXT, "duration": INT}),
    "type": Canned("Type text on the keyboard.", {"text": TEXT}),
    "cursor_position": Canned("Tell where the cursor is, in pixels.", {}),
    "mouse_move": Canned("Move the cursor without clicking.", {"coordinate": POINT}),
    "left_mouse_down": Canned("Press the left mouse button and hold it.", {}),
    "left_mouse_up": Canned("Release the left mouse button.", {}),
    "left_click": Canned("Click with the left button, at the cursor if no coordinate is given.", {}, _CLICK),
    "left_click_drag": Canned(
        "Drag from start_coordinate to coordinate.", {"start_coordinate": POINT, "coordinate": POINT}, {"text": TEXT}
    ),
    "right_click": Canned("Click with the right button, at the cursor if no coordinate is given.", {}, _CLICK),
    "middle_click": Canned("Click with the middle button, at the cursor if no coordinate is given.", {}, _CLICK),
    "double_click": Canned("Double-click, at the cursor if no coordinate is given.", {}, _CLICK),
    "triple_click": Canned("Triple-click, at the cursor if no coordinate is given.", {}, _CLICK),
    "scroll": Canned("Turn the mouse wheel.", {"scroll_direction": DIRECTION, "scroll_amount": INT}, _CLICK),
    "wait": Canned("Wait some seconds.", {"duration": INT}),
    "screenshot": Canned("Take a picture of the screen.", {}),
    "zoom": Canned("Take an enlarged picture of a part of the screen (x0, y0, x1, y1).", {"region": REGION}),
}

_BROWSER = {
    "navigate": Canned("Open a URL, or go back, forward or reload.", {"url": TEXT}, _TAB),
    "list_tabs": Canned("List the open tabs with id, title and URL.", {}),
    "new_tab": Canned("Open an empty tab and return its id.", {}),
    "switch_tab": Canned("Make a tab the one that calls without tab_id act on.", {"tab_id": TEXT}),
    "close_tab": Canned("Close a tab.", {"tab_id": TEXT}),
    "read_page": Canned(
        "Return the page as a tree of accessible elements, whose references serve as targets.",
        {},
        {"depth": INT, "filter": {"type": "string", "enum": ["all", "interactive"]}, "ref": TEXT, **_TAB},
    ),
    "get_page_text": Canned("Return the text a reader of the page sees.", {}, _TAB),
    "read_console": Canned("Return the console output since the last call.", {}, _TAB),
    "read_network": Canned("Return the network requests since the last call.", {}, _TAB),
    "find": Canned("Find elements by a description in plain words.", {"query": TEXT}, _TAB),
    "form_input": Canned("Set the value of a form field.", {"target": _ELEMENT, "value": _VALUE}, _TAB),
    "file_upload": Canned(
        "Choose files for a file field; paths or document_ids must be given.",
        {"target": _ELEMENT},
        {"paths": TEXTS, "document_ids": TEXTS, **_TAB},
    ),
    "scroll_to": Canned("Scroll until an element is in view.", {"target": _ELEMENT}, _TAB),
    "screenshot": Canned("Take a picture of the page.", {}, _TAB),
    "zoom": Canned("Take an enlarged picture of a part of the page (x0, y0, x1, y1).", {"region": REGION}, _TAB),
    "left_click": Canned("Click a point or an element.", {"target": _TARGET}, _HELD),
    "right_click": Canned("Click a point or an element with the right button.", {"target": _TARGET}, _HELD),
    "middle_click": Canned("Click a point or an element with the middle button.", {"target": _TARGET}, _HELD),
    "double_click": Canned("Double-click a point or an element.", {"target": _TARGET}, _HELD),
    "triple_click": Canned("Triple-click a point or an element.", {"target": _TARGET}, _HELD),
    "hover": Canned("Move the cursor over a point or an element.", {"target": _TARGET}, _TAB),
    "left_click_drag": Canned("Drag from one point to another.", {"from": _SPOT, "target": _SPOT}, _TAB),
    "left_mouse_down": Canned("Press the left mouse button at a point and hold it.", {"target": _SPOT}, _TAB),
    "left_mouse_up": Canned("Release the left mouse button at a point.", {"target": _SPOT}, _TAB),
    "mouse_move": Canned("Move the pointer to a point without clicking.", {"target": _SPOT}, _TAB),
    "scroll": Canned(
        "Scroll at a point.", {"target": _SPOT, "scroll_direction": DIRECTION}, {"scroll_amount": INT, **_TAB}
    ),
    "type": Canned("Type text where the focus is.", {"text": TEXT}, _TAB),
    "key": Canned("Press a key or a chord such as ctrl+a.", {"text": TEXT}, {"repeat": INT, **_TAB}),
    "hold_key": Canned("Hold a key or chord down for some seconds.", {"text": TEXT, "duration": NUMBER}, _TAB),
    "wait": Canned("Wait some seconds.", {"duration": NUMBER}, _TAB),
    "javascript_exec": Canned("Run JavaScript in the page; its last expression is the result.", {"text": TEXT}, _TAB),
}

TOOLSETS: dict[str, tuple[str, dict[str, Canned]]] = {
    "computer_toolset_20260801": ("computer", _COMPUTER),
    "browser_toolset_20260801": ("browser", _BROWSER),
}
"""Tool type -> the toolset's name and its members."""
