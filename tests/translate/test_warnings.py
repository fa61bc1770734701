import pytest

from extproc.translate.want import Refused
from extproc.translate.warnings import MAX_ITEMS, Warnings, header_value


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
