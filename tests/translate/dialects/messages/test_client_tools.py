import pytest

from extproc.translate.dialects.messages import client_tools
from extproc.translate.schema import repair


@pytest.mark.parametrize("kind", client_tools.FIXED)
def test_schemas_need_no_repair(kind: str) -> None:
    parameters = client_tools.FIXED[kind][1].parameters()
    assert repair(parameters, "p").schema is parameters


def test_insert_is_spelled_by_version() -> None:
    old, new = (client_tools.FIXED[kind][1] for kind in ("text_editor_20250124", "text_editor_20250728"))
    assert "undo_edit" in old.required["command"]["enum"]
    assert "insert_text" not in old.optional
    assert "undo_edit" not in new.required["command"]["enum"]
    assert "insert_text" in new.optional


def test_computers_grew() -> None:
    first = client_tools.computer("computer_20241022", 1, 1, zoom=False)
    last = client_tools.computer("computer_20251124", 1, 1, zoom=True)
    assert "scroll_direction" not in first.optional
    assert "zoom" not in first.required["action"]["enum"]
    assert {"scroll", "zoom", "triple_click"} <= set(last.required["action"]["enum"])
    assert "region" in last.optional
