from enum import StrEnum

import pytest

from extproc.errors import STATUS, Kind, Reason, Rejection, invalid


def test_every_kind_has_a_status_of_its_own() -> None:
    assert STATUS.keys() == set(Kind)
    assert len(set(STATUS.values())) == len(Kind)
    assert all(400 <= status <= 529 for status in STATUS.values())


@pytest.mark.parametrize("kind", Kind)
def test_the_status_follows_from_the_kind(kind: Kind) -> None:
    plain = Rejection(kind=kind, message="m", reason=Reason.INTERNAL)
    assert plain.http_status == STATUS[kind]
    assert Rejection(kind=kind, message="m", reason=Reason.INTERNAL, status=499).http_status == 499


@pytest.mark.parametrize("words", [Kind, Reason])
def test_words_hold_no_blanks(words: type[StrEnum]) -> None:
    assert not [word for word in words if not str(word).replace("_", "").isalpha()]


@pytest.mark.parametrize(
    ("path", "message", "detail"),
    [("messages.0.role", "messages.0.role: no", "invalid:messages.0.role"), ("", "no", "invalid:body")],
)
def test_the_callers_own_mistake(path: str, message: str, detail: str) -> None:
    found = invalid(path, "no")
    assert (found.http_status, found.message, found.path, found.detail) == (400, message, path, detail)
    assert found.reason is Reason.INVALID_REQUEST


def test_the_record_of_a_mistake_is_short() -> None:
    assert len(invalid("x" * 1_000_000, "no").detail) == 200
