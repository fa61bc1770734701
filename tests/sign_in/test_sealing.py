import os

import pytest

from extproc.sign_in.sealing import NotSealed, Seal

SEAL = Seal(bytes(32))
VALUE = {"token": "secret", "n": 1}


def test_what_is_sealed_is_opened_for_its_purpose_only() -> None:
    text = SEAL.close("state", VALUE)
    assert SEAL.open("state", text) == VALUE and "secret" not in text
    assert text != SEAL.close("state", VALUE)
    for seal, purpose in ((SEAL, "refresh"), (SEAL, ""), (Seal(os.urandom(32)), "state")):
        with pytest.raises(NotSealed):
            seal.open(purpose, text)


def test_no_byte_can_be_changed() -> None:
    text = SEAL.close("state", VALUE)
    for at in range(len(text) - 1):
        other = "A" if text[at] != "A" else "B"
        with pytest.raises(NotSealed):
            SEAL.open("state", text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "A", "AAAA", "A" * 40, "\N{SNOWMAN}", "====", "a b", "../x"])
def test_anything_else_is_not_sealed(text: str) -> None:
    with pytest.raises(NotSealed):
        SEAL.open("state", text)
