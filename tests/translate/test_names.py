import pytest

from extproc.translate import names


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Bash", "Bash"),
        ("a" * 64, "a" * 64),
        ("a" * 65, "a" * 55 + "_635361c4"),
        ("fs.read", "fs_read_4074bc02"),
    ],
)
def test_tool_name(name: str, short: str) -> None:
    assert names.tool_name(name) == short
    assert len(short) <= 64


def test_names_that_look_alike_stay_apart() -> None:
    assert len({names.tool_name(name) for name in ("a.b", "a:b", "a_b")}) == 3


@pytest.mark.parametrize(
    ("known", "upstream"),
    [
        ("toolu_01", "toolu_01"),
        ("x" * 41, "call_3164596df4fdd018b2c567ec8c03e79b"),
        ("", "call_e3b0c44298fc1c149afbf4c8996fb924"),
        ("tlx_ZnVuY3Rpb25zLkJhc2g6MA", "functions.Bash:0"),
        ("tlx_!", "call_53c60ded789f6bda5b79b267114b9f91"),
    ],
)
def test_history_id(known: str, upstream: str) -> None:
    assert names.history_id(known) == upstream


def test_history_id_of_nine_alphanumerics() -> None:
    made = names.history_id("toolu_01", style="alnum9")
    assert len(made) == 9
    assert made.isalnum()
    assert names.history_id(made, style="alnum9") == made
    assert names.history_id(names.client_id("abc.def"), style="alnum9").isalnum()


@pytest.mark.parametrize("upstream", ["call_1", "functions.Bash:0", "tlx_x", "ü", ""])
def test_a_client_id_leads_back(upstream: str) -> None:
    shown = names.client_id(upstream)
    assert not upstream or names.history_id(shown) == upstream
    assert shown.replace("-", "_").replace("_", "a").isalnum()


def test_message_ids() -> None:
    assert names.message_id("chatcmpl-aB.1", "n") == "msg_aB_1"
    assert names.message_id("gen-1", "n") == "msg_gen-1"
    made = names.message_id("", "n")
    assert made == names.message_id("chatcmpl-", "n")
    assert len(made) == 28
    assert made != names.message_id("", "other")


def test_completion_ids() -> None:
    assert names.completion_id("msg_aB.1", "n") == "chatcmpl-aB_1"
    assert names.completion_id("", "n") == names.made_id("chatcmpl-", "n", 0)


def test_made_ids_differ_by_number() -> None:
    assert names.made_id("toolu_", "n", 1) == names.made_id("toolu_", "n", 1) != names.made_id("toolu_", "n", 2)
