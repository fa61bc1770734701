from typing import Any

import pytest

from tests.translate.asking import ask, body, refusal, sent, target, text

BILLING = "x-anthropic-billing-header: cc_version=2.1; cch=1;"


def prompt(system: Any, **profile: Any) -> Any:
    messages = sent(body(system=system), target(**profile))["messages"]
    return messages[0]["content"] if messages[0]["role"] != "user" else None


@pytest.mark.parametrize("system", ["", "  \n", [], [text("")], [text(BILLING)], [text(" ")], None])
def test_nothing_to_say(system: Any) -> None:
    assert prompt(system) is None


def test_blocks_join_with_a_blank_line() -> None:
    assert prompt([text("a", citations=[]), text(""), text("b")], system_suffix="c") == "a\n\nb\n\nc"
    assert prompt("a") == "a"
    assert prompt(None, system_suffix="c") == "c"


def test_the_billing_line_may_stay() -> None:
    assert prompt([text(BILLING), text("a")], strip_billing_header=False) == f"{BILLING}\n\na"


def test_cache_hints_keep_the_list() -> None:
    hinted = [text("a", cache_control={"type": "ephemeral", "ttl": "1h"}), text("b")]
    breakpoint_ = {"mode": "explicit", "ttl": "12h"}
    assert prompt(hinted, map_cache_control=True) == [text("a", prompt_cache_breakpoint=breakpoint_), text("b")]


def test_the_last_four_hints_win() -> None:
    hinted = [text(str(n), cache_control={"type": "ephemeral"}) for n in range(6)]
    parts = prompt(hinted, map_cache_control=True)
    assert ["prompt_cache_breakpoint" in part for part in parts] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("system", "path"),
    [
        (7, "system: "),
        ([7], "system.0: "),
        ([{"type": "image"}], "system.0.type: "),
        ([{"type": "text"}], "system.0.text: "),
    ],
)
def test_refused(system: Any, path: str) -> None:
    assert refusal(body(system=system)).startswith(path)


def test_unknown_members_of_a_block() -> None:
    assert ask(body(system=[text("a", foo=1)])).warnings == ("dropped:system.0.foo",)
