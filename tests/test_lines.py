import json
from pathlib import Path
from typing import Any

import pytest

from extproc.lines import banner, readable
from tests.settings import GATEWAY, KEY, source

CALL: dict[str, Any] = {
    "time": "2026-07-31T10:11:12.345Z",
    "http.method": "POST",
    "http.path": "/v1/messages",
    "http.status": 200,
    "duration": 17,
    "jwt.sub": "ann",
    "caller.team": "data",
    "caller.org": None,
    "gen_ai.request.model": "claude-x",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.upstream.model": "gpt",
    "gen_ai.usage.input_tokens": 3,
    "gen_ai.usage.output_tokens": 2,
    "reason": None,
    "error": None,
    "warnings": None,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "10:11:12  200  POST /v1/messages  ann/data  claude-x -> gpt-4o 3+2 tokens  17 ms"),
        (
            {"gen_ai.response.model": None, "gen_ai.usage.input_tokens": None, "warnings": "dropped:x"},
            "10:11:12  200  POST /v1/messages  ann/data  claude-x -> gpt  17 ms  [dropped:x]",
        ),
        (
            {"http.status": 401, "jwt.sub": None, "caller.team": None, "gen_ai.request.model": None,
             "reason": "JwtAuth", "error": "token_expired"},
            "10:11:12  401  POST /v1/messages  -  17 ms  JwtAuth  token_expired",
        ),
        (
            {"gen_ai.usage.output_tokens": None},
            "10:11:12  200  POST /v1/messages  ann/data  claude-x -> gpt-4o 3+0 tokens  17 ms",
        ),
        (
            {"gen_ai.request.model": "a\x1b[2J\nb"},
            "10:11:12  200  POST /v1/messages  ann/data  a?[2J?b -> gpt-4o 3+2 tokens  17 ms",
        ),
    ],
)  # fmt: skip
def test_a_call(changes: dict[str, Any], expected: str) -> None:
    assert readable(json.dumps(CALL | changes)) == expected


@pytest.mark.parametrize("line", ["", "[warning] hello", "{", "[1]", "3", '{"level": "info"}'])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert readable(line) == line


def shown(folder: Path, text: str = GATEWAY, **demo_for: tuple[str, ...]) -> str:
    return banner(source(folder, text, {"OPENAI_API_KEY": KEY}), demo_for)


def test_the_banner(tmp_path: Path) -> None:
    lines = shown(tmp_path).splitlines()
    assert lines[0] == "extproc is serving on http://127.0.0.1:8080"
    words = [line.split() for line in lines]
    assert ["model", "claude-*", "->", "openai:", "gpt-4o-mini"] in words
    assert ["provider", "openai", "https://api.openai.example/v1", "(key", "from", "OPENAI_API_KEY)"] in words
    assert ["tokens", "of", "lab"] in words
    assert "  export ANTHROPIC_BASE_URL=http://127.0.0.1:8080" in lines
    assert "DEMO" not in "".join(lines)


def test_the_banner_never_shows_a_key(tmp_path: Path) -> None:
    for text in (GATEWAY, GATEWAY.replace("env: OPENAI_API_KEY", "file: keys/openai")):
        assert KEY not in shown(tmp_path, text)
        assert "no key" not in shown(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (", api_key: {env: OPENAI_API_KEY}", "", "(no key)"),
        ("{env: OPENAI_API_KEY}", "{file: keys/openai}", "(key from keys/openai)"),
        ("model: gpt-4o-mini", "", "openai: the same name"),
        ('"claude-*"', '""', "(none)"),
        ("models:", 'listen: {address: "::1", port: 9090}\nmodels:', "http://[::1]:9090"),
        ("models:", "listen: {tls: {certificate: c, key: k}}\nmodels:", "https://127.0.0.1:8080"),
    ],
)
def test_the_banner_tells_what_is_different(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert GATEWAY.count(old) == 1
    assert expected in shown(tmp_path, GATEWAY.replace(old, new))


def test_the_demo_is_named(tmp_path: Path) -> None:
    text = shown(tmp_path, OPENAI_API_KEY=("openai", "other"))
    assert "No OPENAI_API_KEY is set: THE DEMO MODEL ANSWERS instead of openai, other." in text
