from pathlib import Path

import pytest

from extproc.supervisor.stand_ins import stand_ins
from tests.settings import AUTHENTICATION

OPENAI = (
    '{dialects: [chat], base_url: "${OPENAI_UPSTREAM_URL:-https://api.openai.com/v1}", api_key: {env: OPENAI_API_KEY}}'
)
CLAUDE = OPENAI.replace("[chat]", "[messages]").replace("OPENAI", "ANTHROPIC")
LOCAL = "{dialects: [chat], base_url: 'http://127.0.0.1:8000/v1'}"


def found(folder: Path, environ: dict[str, str], **providers: str) -> dict[str, tuple[str, ...]]:
    path = folder / "gateway.yaml"
    lines = "".join(f"  {name}: {settings}\n" for name, settings in providers.items())
    path.write_text(f"# OPENAI_API_KEY, ANTHROPIC_API_KEY\n{AUTHENTICATION}\nproviders:\n{lines}")
    return {one.demo.key: one.providers for one in stand_ins(path, environ)}


def test_for_those_whose_key_is_missing(tmp_path: Path) -> None:
    both = {"OPENAI_API_KEY": ("b", "c"), "ANTHROPIC_API_KEY": ("a",)}
    assert found(tmp_path, {}, a=CLAUDE, b=OPENAI, c=OPENAI, d=LOCAL) == both
    assert found(tmp_path, {"OPENAI_API_KEY": ""}, b=OPENAI) == {"OPENAI_API_KEY": ("b",)}
    assert found(tmp_path, {"OPENAI_UPSTREAM_URL": "http://127.0.0.1:1"}, b=OPENAI) == {"OPENAI_API_KEY": ("b",)}


@pytest.mark.parametrize("key", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"])
def test_none_where_one_of_the_keys_is_there(tmp_path: Path, key: str) -> None:
    assert found(tmp_path, {key: "k"}, a=CLAUDE, b=OPENAI) == {}


def test_a_key_that_nobody_wants_does_not_count(tmp_path: Path) -> None:
    assert found(tmp_path, {"ANTHROPIC_API_KEY": "k"}, b=OPENAI) == {"OPENAI_API_KEY": ("b",)}


@pytest.mark.parametrize(
    "other",
    [
        OPENAI.replace("{env: OPENAI_API_KEY}", "{file: key}"),  # would send its key to the demo model
        OPENAI.replace("{env: OPENAI_API_KEY}", "{env: OTHER_KEY}"),
        OPENAI.replace(", api_key: {env: OPENAI_API_KEY}", ""),
        OPENAI.replace("OPENAI_UPSTREAM_URL", "OTHER_URL"),  # would get the demo model's key
    ],
)
def test_none_where_keys_would_go_astray(tmp_path: Path, other: str) -> None:
    assert found(tmp_path, {}, a=other) == {} == found(tmp_path, {}, a=other, b=OPENAI)


def test_a_comment_wants_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, {}, d=LOCAL) == {}


@pytest.mark.parametrize("text", ["", "providers: [", "authentication: {}\n"])
def test_a_file_with_mistakes_is_complained_of_later(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    assert stand_ins(path, {}) == [] == stand_ins(tmp_path / "none.yaml", {})
