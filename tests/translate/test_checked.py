from collections.abc import Callable
from typing import Any

import pytest

from extproc.translate import checked
from extproc.translate.checked import MAX_ITEMS, Refused, Warnings, header_value

READERS: list[tuple[Callable[..., Any], Any, Any]] = [
    (checked.text, "a", 1),
    (checked.integer, 3, True),
    (checked.number, 0.5, "1"),
    (checked.mapping, {"a": 1}, []),
    (checked.sequence, [1], {}),
]


@pytest.mark.parametrize(("reader", "good", "bad"), READERS)
def test_readers(reader: Callable[..., Any], good: Any, bad: Any) -> None:
    assert reader({"k": good}, "k", "a.0") == good
    with pytest.raises(checked.Refused, match=r"a\.0\.k: Input should be"):
        reader({"k": bad}, "k", "a.0")
    for missing in ({}, {"k": None}):
        with pytest.raises(checked.Refused, match=r"^k: Field required") as stop:
            reader(missing, "k", "")
        assert stop.value.rejection.code == "missing_required_parameter"


def test_optional_readers() -> None:
    assert checked.optional_text({}, "k", "") is None
    assert checked.optional_mapping({"k": None}, "k", "") == {}
    assert checked.optional_sequence({}, "k", "") == []
    assert checked.flag({}, "k", "") is False
    with pytest.raises(checked.Refused, match="valid boolean"):
        checked.flag({"k": 1}, "k", "")


def test_a_list_of_texts() -> None:
    assert checked.optional_texts({"k": ["a"]}, "k", "") == ["a"]
    assert checked.optional_texts({"k": None}, "k", "a.0") == []
    for path, where in (("", r"^k\.1: "), ("a.0", r"^a\.0\.k\.1: ")):
        with pytest.raises(checked.Refused, match=where):
            checked.optional_texts({"k": ["a", 1]}, "k", path)


def test_numbers_are_finite() -> None:
    with pytest.raises(checked.Refused):
        checked.number({"k": float("inf")}, "k", "")


def test_one_of_and_item() -> None:
    assert checked.one_of("a", ("a", "b"), "x") == "a"
    with pytest.raises(checked.Refused, match="x: Input should be 'a', 'b' or 'c'"):
        checked.one_of("z", ("a", "b", "c"), "x")
    with pytest.raises(checked.Refused, match=r"tools\.0: Input should be a valid dictionary"):
        checked.item("z", "tools.0")


def test_each_item_once_in_order() -> None:
    warnings = Warnings()
    for path in ("b", "a", "b"):
        warnings.add("dropped", path)
    warnings.word("usage_missing")
    assert warnings.items == ("dropped:b", "dropped:a", "usage_missing")


def test_strict_refuses_the_first_loss_but_not_words_about_the_answer() -> None:
    warnings = Warnings("strict")
    warnings.word("usage_missing")
    with pytest.raises(Refused) as stop:
        warnings.add("dropped", "top_k", "no")
    assert stop.value.rejection.message == "top_k: no"


def test_silent_still_tells_the_log() -> None:
    warnings = Warnings("silent")
    warnings.add("dropped", "a")
    assert warnings.items == ("dropped:a",)


def test_unknown_members() -> None:
    warnings = Warnings()
    warnings.unknown({"a": 1, "b": 2}, frozenset("a"), "x.0")
    assert warnings.items == ("dropped:x.0.b",)
    warnings.unknown({f"{n}\n,": 1 for n in range(9)}, frozenset(), "")
    assert list(warnings.items)[1] == "dropped:0__"


def test_items_are_bounded() -> None:
    warnings = Warnings()
    warnings.unknown(dict.fromkeys(map(str, range(1000)), 1), frozenset(), "")
    assert len(warnings.items) == MAX_ITEMS


def test_header_is_ascii_and_bounded() -> None:
    assert header_value(["dropped:a", "approx:é, b"]) == "dropped:a,approx:___b"
    long = header_value([f"dropped:{n:04}" for n in range(500)])
    assert len(long) <= 1024 + len(",...")
    assert long.endswith(",...")
    assert header_value(["x" * 2000]).endswith(",...")
    assert header_value([]) == ""
