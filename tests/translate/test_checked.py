from collections.abc import Callable
from typing import Any

import msgspec
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


class Inner(msgspec.Struct):
    name: str


class Outer(msgspec.Struct):
    name: str
    size: int | None = None
    share: int | float | None = None
    on: bool | None = None
    content: str | list[Any] | None = None
    words: list[str] | None = None
    inner: Inner | None = None
    more: dict[str, Any] | None = None


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({}, "name: Field required"),
        ({"name": None}, "name: Field required"),
        ({"name": 1}, "name: Input should be a valid string"),
        ({"size": True}, "size: Input should be a valid integer"),
        ({"size": 1.0}, "size: Input should be a valid integer"),
        ({"share": "1"}, "share: Input should be a valid number"),
        ({"on": 1}, "on: Input should be a valid boolean"),
        ({"content": {}}, "content: Input should be a valid list"),
        ({"words": ["a", 1]}, "words.1: Input should be a valid string"),
        ({"words": [None]}, "words.0: Input should be a valid string"),
        ({"inner": []}, "inner: Input should be a valid dictionary"),
        ({"inner": {}}, "inner.name: Field required"),
        ({"more": "x"}, "more: Input should be a valid dictionary"),
    ],
)
@pytest.mark.parametrize("path", ["", "a.0"])
def test_typed_names_the_member_of_a_wrong_type(found: dict[str, Any], problem: str, path: str) -> None:
    given = found if problem.startswith("name") else {"name": "n", **found}
    with pytest.raises(Refused) as stop:
        checked.typed(given, Outer, path)
    rejection = stop.value.rejection
    assert rejection.message == (f"{path}.{problem}" if path else problem)
    assert rejection.path == rejection.message.partition(":")[0]
    assert rejection.code == ("missing_required_parameter" if "required" in problem else "invalid_value")


def test_typed_keeps_values_as_they_are() -> None:
    inner = {"deep": [1, 1.5]}
    found = checked.typed({"name": "n", "share": 1, "size": 2**70, "content": [inner], "unknown": 1}, Outer, "")
    assert (found.share, type(found.share), found.size, found.on) == (1, int, 2**70, None)
    assert isinstance(found.content, list)
    assert found.content[0] is inner


@pytest.mark.parametrize("found", [None, 1, "x", []])
def test_typed_takes_objects_only(found: Any) -> None:
    with pytest.raises(Refused, match=r"^tools\.0: Input should be a valid dictionary"):
        checked.typed(found, Outer, "tools.0")


def counted_reader() -> tuple[Callable[[dict[str, Any], str, Warnings], tuple[str, Any]], list[str]]:
    calls: list[str] = []

    @checked.remembered
    def read(found: dict[str, Any], path: str, warnings: Warnings) -> tuple[str, Any]:
        calls.append(path)
        warnings.unknown(found, frozenset(("a",)), path)
        return path, found.get("a")

    return read, calls


def test_what_was_read_is_remembered_with_its_warnings() -> None:
    read, calls = counted_reader()
    for _ in range(2):
        warnings = Warnings()
        assert read({"a": 1, "x": 2}, "t.0", warnings) == ("t.0", 1)
        assert warnings.items == ("dropped:t.0.x",)
    assert calls == ["t.0"]


@pytest.mark.parametrize("other", [{"a": True}, {"a": 1.0}, {"a": "1"}])
def test_what_differs_in_bytes_is_read_anew(other: dict[str, Any]) -> None:
    read, _ = counted_reader()
    for found in ({"a": 1}, other):
        value = read(found, "t.0", Warnings())[1]
        assert (value, type(value)) == (found["a"], type(found["a"]))


def test_path_and_strictness_are_part_of_what_is_remembered() -> None:
    read, calls = counted_reader()
    for path in ("t.0", "t.1"):
        assert read({"a": 1, "x": 1}, path, Warnings())[0] == path
    for _ in range(2):
        with pytest.raises(Refused, match=r"^t\.0\.x: Extra inputs"):
            read({"a": 1, "x": 1}, "t.0", Warnings("strict"))
    assert calls == ["t.0", "t.1", "t.0", "t.0"]


@pytest.mark.parametrize("large", ["d" * checked.REMEMBERED_BYTES, [[]] * checked.REMEMBERED_VALUES * 4])
def test_large_objects_are_not_remembered(large: Any) -> None:
    read, calls = counted_reader()
    for _ in range(2):
        read({"a": large}, "t.0", Warnings())
    assert calls == ["t.0", "t.0"]


def test_long_texts_are_remembered() -> None:
    read, calls = counted_reader()
    for _ in range(2):
        read({"a": "Runs a command, and returns its output. " * 200}, "t.0", Warnings())
    assert calls == ["t.0"]
