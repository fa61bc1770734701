import pytest

from extproc.translate.signature import MAX_CHARS, Sealed, is_ours, seal, unseal


@pytest.mark.parametrize(
    "sealed",
    [Sealed("reasoning"), Sealed("reasoning_details", [{"b": 1, "a": "é"}]), Sealed("reasoning", None, "hidden")],
)
def test_round_trip(sealed: Sealed) -> None:
    signature = seal(sealed.f, sealed.d, sealed.t)
    assert is_ours(signature)
    assert unseal(signature) == sealed


def test_members_are_sorted() -> None:
    assert seal("f", {"a": 1}, "t") == "atr1.eyJkIjp7ImEiOjF9LCJmIjoiZiIsInQiOiJ0In0"
    assert seal("f", {"b": 1, "a": 2}) == seal("f", {"a": 2, "b": 1})


@pytest.mark.parametrize("broken", ["EqQB", "", None, 7, "atr1.", "atr1.!", "atr1.e30", "atr1.W10", "atr1.eyJmIjoxfQ"])
def test_what_is_not_ours_is_nothing(broken: object) -> None:
    assert unseal(broken) is None


def test_the_size_is_bounded() -> None:
    assert unseal(seal("f", "x" * MAX_CHARS)) is None


def test_unknown_members_are_ignored() -> None:
    assert unseal("atr1.eyJmIjoiciIsInoiOjF9") == Sealed("r")
