import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from extproc.config.faults import Fault
from extproc.policy.authentication import api_keys
from extproc.policy.authentication.api_keys import ApiKeys
from extproc.policy.authentication.authenticator import Setup
from extproc.policy.authentication.credential import Unproven
from extproc.policy.keys.remote_keys import FetchedKeySets
from tests.settings import AUTHENTICATION, MODELS, PROVIDERS, source

KEY = "extproc_" + "x" * 43
SHA = hashlib.sha256(KEY.encode()).hexdigest()


def loaded(folder: Path, text: str) -> tuple[ApiKeys, list[str]]:
    (folder / "keys.yaml").write_text(text)
    config = json.loads(AUTHENTICATION.partition(": ")[2]) | {"api_keys": {"file": "keys.yaml"}}
    faults: list[Fault] = []
    text = f"authentication: {json.dumps(config)}\n{PROVIDERS}\n{MODELS}"
    made = api_keys.load(Setup(source(folder, text), FetchedKeySets(), None, faults))
    assert all(fault.where == ("authentication", "api_keys", "file") for fault in faults)
    return made, [fault.problem.removeprefix(f"{folder / 'keys.yaml'}:") for fault in faults]


def refusal(keys: ApiKeys, key: str, now: float = 0) -> str:
    with pytest.raises(Unproven) as problem:
        keys.verify(key, now)
    return str(problem.value)


@pytest.mark.parametrize("form", [str, lambda line: json.dumps([json.loads(line.removeprefix("- "))])])
def test_a_new_key_and_its_line(tmp_path: Path, form: Any) -> None:
    key, line = api_keys.new("nightly", {"team": "data", "groups": ["a"]}, "2030-01-31")
    assert key.startswith(api_keys.PREFIX) and len(key) == 51 and key not in line
    made, faults = loaded(tmp_path, form(line))
    assert not faults
    end = dt.datetime(2030, 1, 31, tzinfo=dt.UTC).timestamp()
    caller = made.verify(key, end - 1)
    assert caller.claims == {"id": "nightly", "sub": "key:nightly", "team": "data", "groups": ["a"]}
    assert (caller.kind, caller.subject, caller.issuer) == ("key", "key:nightly", "")
    assert refusal(made, key, end) == "api_key_expired"
    assert refusal(made, key[:-1]) == refusal(made, SHA) == "unknown_api_key"


def test_keys_differ() -> None:
    assert len({api_keys.new("a", {})[0] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("identifier", "claims", "expires"),
    [
        ("", {}, None),
        ("a b", {}, None),
        ("-a", {}, None),
        ("a", {"sub": "root"}, None),
        ("a", {}, "tomorrow"),
        ("a", {}, "20270131"),
        ("a", {}, "2027-W05-1"),
        ("a", {}, "2027-01-31T10"),
        ("a", {}, "2020-01-01"),
        ("a", {}, "2027-13-01"),
        ("a", {"x": float("inf")}, None),
    ],
)
def test_what_makes_no_key(identifier: str, claims: dict[str, Any], expires: str | None) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the CLI shows whatever it says
        api_keys.new(identifier, claims, expires, now=1.7e9)


ONE = f"- {{id: a, sha256: '{SHA}'}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", ["1: not YAML"]),
        ("a: 1", ["1: expected a list of keys"]),
        ("- 7", ["1: 0: Input should be a valid dictionary"]),
        (f"{ONE}- {{id: b, sha256: '{SHA.upper()}'}}", ["2: 1.sha256: String should match pattern"]),
        (f"{ONE}- {{id: b, sha256: 12}}", ["2: 1.sha256: Input should be a valid string"]),
        (f"{ONE}{ONE}", ["2: 1.id: this stands in the file twice", "2: 1.sha256: this stands in the file twice"]),
        (f"- {{id: a, id: b, sha256: '{SHA}'}}", ["1: 0.id: this key occurs twice"]),
        (f"- {{id: a, sha256: '{SHA}', claim: {{}}}}", ["1: 0.claim: Extra inputs are not permitted"]),
        (f"- {{id: a, sha256: '{SHA}', claims: {{iss: x}}}}", ["1: 0.claims: iss cannot be set for a key"]),
        (f"- {{id: a, sha256: '{SHA}', expires: soon}}", ["1: 0.expires: expected a date such as 2027-01-31"]),
        (f"- {{id: a, sha256: '{SHA}', expires: 20270131}}", ["1: 0.expires: expected a date such as 2027-01-31"]),
        (f"- {{id: a, sha256: '{SHA}', claims: {{since: 2024-01-01}}}}", ["1: 0.claims.since"]),
        (f"- {{id: a, sha256: '{SHA}', claims: {{x: [.inf]}}}}", ["1: 0.claims: JSON knows no such number"]),
        (f"- {{id: a, sha256: '{SHA}', claims: {{x: !!binary aGk=}}}}", ["1: 0.claims.x"]),
        (f"- {{id: a/b, sha256: '{SHA}'}}", ["1: 0.id: String should match pattern"]),
    ],
)
def test_faults(tmp_path: Path, text: str, says: list[str]) -> None:
    _, faults = loaded(tmp_path, text)
    assert len(faults) == len(says)
    for fault, wanted in zip(faults, says, strict=True):
        assert fault.startswith(wanted)


@pytest.mark.parametrize("text", ["[]", "", "\n", "# nobody\n", "---\n"])
def test_an_empty_list_lets_nobody_in(tmp_path: Path, text: str) -> None:
    made, faults = loaded(tmp_path, text)
    assert not faults and refusal(made, KEY) == "unknown_api_key"


@pytest.mark.parametrize("expires", ["2030-01-01", "'2030-01-01'", "2030-01-01T01:00:00+01:00", "2030-01-01T00:00:00"])
def test_an_end_in_many_forms(tmp_path: Path, expires: str) -> None:
    made, faults = loaded(tmp_path, f"- {{id: a, sha256: '{SHA}', expires: {expires}}}")
    assert not faults
    end = dt.datetime(2030, 1, 1, tzinfo=dt.UTC).timestamp()
    assert made.verify(KEY, end - 1).kind == "key"
    assert refusal(made, KEY, end) == "api_key_expired"
