"""Whatever stands in a place of gateway.yaml, it is taken or refused as a mistake: no exception gets out."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.config import loading
from extproc.config.loading import Invalid
from extproc.gateway.gateway import Gateway

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (ROOT / "gateway.yaml").read_text("utf-8")
BEDROCK = """
providers:
  bedrock:
    cloud: aws-bedrock
    region: eu-west-1
    auth: {aws: {keys: {access_key_id: {env: KEY}, secret_access_key: {env: KEY}}}}
"""
VALUES: list[Any] = [None, "", "x", "*", 0, -1, 10**30, True, [], ["x"], {}, {"x": 1}, {"file": "x"}, {"env": None}]
Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    match value:
        case dict():
            inside: Any = value.items()
        case list():
            inside = enumerate(value)
        case _:
            inside = ()
    for key, part in inside:
        yield (*at, key)
        yield from places(part, (*at, key))


def replaced(whole: Any, at: Place, value: Any) -> Any:
    changed = inner = copy.deepcopy(whole)
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return changed


def said(path: Path, config: Any) -> str:
    """What is wrong with it; empty if nothing is."""
    path.write_text(yaml.safe_dump(config), "utf-8")
    try:
        Gateway(loading.load(path, {"KEY": "a-long-secret"}), {"KEY": "a-long-secret"})
    except Invalid as invalid:
        return str(invalid)
    return ""


@pytest.mark.parametrize("text", [SHIPPED, BEDROCK], ids=["shipped", "a cloud"])
def test_any_value_in_any_place(tmp_path: Path, text: str) -> None:
    whole, path = {**yaml.safe_load(SHIPPED), **yaml.safe_load(text)}, tmp_path / "gateway.yaml"
    refusals = [said(path, replaced(whole, at, value)) for at in places(whole) for value in VALUES]
    assert sum(refusal.startswith(f"{path}:") for refusal in refusals) > 100
    assert all(refusal.startswith(f"{path}:") for refusal in refusals if refusal)
