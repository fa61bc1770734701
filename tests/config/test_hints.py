from pathlib import Path

import pytest

from extproc.config import hints
from extproc.config.faults import Fault
from extproc.config.loading import Invalid
from extproc.policy.authorization.variables import compile_rule
from tests.settings import source


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('jwt.org = "acme"', "equality is `==`"),
        ('jwt.org === "acme"', "equality is `==`"),
        ('org == "acme"', "a claim of the token is written `jwt.org`"),
        ("jwt.org == acme", "text stands in quotes"),
        ('"x" in groups', "`jwt.groups`"),
        ('modle == "x"', "did you mean `model`?"),
        ("llm.strem", "did you mean `llm.stream`?"),
        ('request.header.x == "a"', "did you mean `request.headers`?"),
        ('model.startswith("x")', "did you mean `startsWith`?"),
        ("jwt.admin == True", "in CEL that is `true`"),
        ("len(jwt.groups) > 1", "in CEL that is `size`"),
        ('jwt.a == "x" and jwt.b == "y"', "and is `&&`"),
        ('jwt.a == "x" or jwt.b == "y"', "or is `||`"),
        ('jwt.a == "x = y and z', "a text in quotes does not end"),
        ("not jwt.admin", "not is `!`"),
        ('"x" not in jwt.groups', "not in is `!(x in y)`"),
        ('jwt.groups contains "x"', 'x.contains("y")'),
    ],
)
def test_mistakes_in_rules_are_worded_for_people(text: str, hint: str) -> None:
    fault = compile_rule(text, ("x",))
    assert isinstance(fault, Fault) and hint in fault.problem


@pytest.mark.parametrize("text", ["jwt.a == ", "a.b.c == 1"])
def test_no_hint_where_there_is_nothing_to_say(text: str) -> None:
    fault = compile_rule(text, ("x",))
    assert isinstance(fault, Fault) and "; " not in fault.problem


@pytest.mark.parametrize(
    ("name", "hint"), [("modles", "; did you mean 'models'?"), ("listn", "; did you mean 'listen'?"), ("wat", "")]
)
def test_the_key_that_was_meant(name: str, hint: str) -> None:
    assert hints.meant(name, ("listen", "models", "providers")) == hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "models:\n  - {name: *, provider: x}",
            "but found ','; a value that begins with * needs quotes",
        ),
        ("a:\n\tb: 1", "indented with blanks"),
        ("a: @b", "a value that begins with this character needs quotes"),
        ("a: b: c", "a value with a colon and a blank in it needs quotes"),
        ('allow: "a" in jwt.b', "put quotes around the whole value"),
        ("a: 1\nb: 'x\nc: 2", "the quote that begins in line 2 does not end"),
        ("a: 1\nb: [x\nc: 2", "the bracket in line 2 is not closed"),
    ],
)
def test_mistakes_in_yaml_are_worded_for_people(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(Invalid) as found:
        source(tmp_path, text)
    assert hint in str(found.value)
