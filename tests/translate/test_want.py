from collections.abc import Callable
from typing import Any

import pytest

from extproc.translate import want

READERS: list[tuple[Callable[..., Any], Any, Any]] = [
    (want.text, "a", 1),
    (want.integer, 3, True),
    (want.number, 0.5, "1"),
    (want.mapping, {"a": 1}, []),
    (want.sequence, [1], {}),
]


@pytest.mark.parametrize(("reader", "good", "bad"), READERS)
def test_readers(reader: Callable[..., Any], good: Any, bad: Any) -> None:
    assert reader({"k": good}, "k", "a.0") == good
    with pytest.raises(want.Refused, match=r"a\.0\.k: Input should be"):
        reader({"k": bad}, "k", "a.0")
    for missing in ({}, {"k": None}):
        with pytest.raises(want.Refused, match=r"^k: Field required") as stop:
            reader(missing, "k", "")
        assert stop.value.rejection.code == "missing_required_parameter"


def test_optional_readers() -> None:
    assert want.optional_text({}, "k", "") is None
    assert want.optional_mapping({"k": None}, "k", "") == {}
    assert want.optional_sequence({}, "k", "") == []
    assert want.flag({}, "k", "") is False
    with pytest.raises(want.Refused, match="valid boolean"):
        want.flag({"k": 1}, "k", "")


def test_a_list_of_texts() -> None:
    assert want.optional_texts({"k": ["a"]}, "k", "") == ["a"]
    assert want.optional_texts({"k": None}, "k", "a.0") == []
    for path, where in (("", r"^k\.1: "), ("a.0", r"^a\.0\.k\.1: ")):
        with pytest.raises(want.Refused, match=where):
            want.optional_texts({"k": ["a", 1]}, "k", path)


def test_numbers_are_finite() -> None:
    with pytest.raises(want.Refused):
        want.number({"k": float("inf")}, "k", "")


def test_one_of_and_item() -> None:
    assert want.one_of("a", ("a", "b"), "x") == "a"
    with pytest.raises(want.Refused, match="x: Input should be 'a', 'b' or 'c'"):
        want.one_of("z", ("a", "b", "c"), "x")
    with pytest.raises(want.Refused, match=r"tools\.0: Input should be a valid dictionary"):
        want.item("z", "tools.0")
