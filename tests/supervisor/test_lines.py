import json
from pathlib import Path
from typing import Any

import pytest

from extproc.supervisor.lines import banner, command, readable
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
            {"gen_ai.usage.cost": 0.00268},
            "10:11:12  200  POST /v1/messages  ann/data  claude-x -> gpt-4o 3+2 tokens, 0.002680 USD  17 ms",
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


REFUSED = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"


@pytest.mark.parametrize(
    ("reason", "details", "said"),
    [
        ("UpstreamUnavailable", REFUSED, "local: delayed connect error: Connection refused"),
        ("UpstreamUnavailable", "no_healthy_upstream", "local: no address that works (see its name and its base_url)"),
        ("UpstreamTimeout", "upstream_response_timeout", "local: upstream response timeout"),
    ],
)
def test_a_provider_that_cannot_be_reached_is_named_with_the_cause(reason: str, details: str, said: str) -> None:
    fault = {"http.status": 529, "reason": reason, "error": "envoy_529", "details": details}
    assert readable(json.dumps({**CALL, **fault, "gen_ai.provider.name": "local"})).endswith(f"{reason}  {said}")


@pytest.mark.parametrize("line", ["", "[warning] hello", "{", "[1]", "3", '{"level": "info"}'])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert readable(line) == line


def test_other_lines_are_made_printable() -> None:
    assert readable("[warning] a\x1b[2J\u202eb") == "[warning] a?[2J?b"
    assert readable('{"level": "\x1b"}') == '{"level": "?"}'


def test_a_call_that_nobody_saw() -> None:
    assert readable('{"http.status": 400, "duration": 0}') == "400  - -  -  0 ms"


def shown(folder: Path, text: str = GATEWAY, lab: Path | None = None, **demo_for: tuple[str, ...]) -> str:
    return banner(source(folder, text, {"OPENAI_API_KEY": KEY}), demo_for, lab)


def test_the_banner(tmp_path: Path) -> None:
    lines = shown(tmp_path).splitlines()
    assert lines[0] == "extproc is serving on http://127.0.0.1:8080"
    words = [line.split() for line in lines]
    assert ["model", "claude-*", "->", "openai:", "gpt-4o-mini"] in words
    assert ["provider", "openai", "https://api.openai.example/v1", "(key", "from", "OPENAI_API_KEY)"] in words
    assert ["tokens", "of", "lab"] in words
    assert lines[-1].startswith("  export ANTHROPIC_BASE_URL=http://127.0.0.1:8080   # and a token of an issuer above")
    assert "DEMO" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "more"),
    [(GATEWAY, ""), (GATEWAY + "listen: {port: 9090}\n", " --url http://127.0.0.1:9090")],
)
def test_the_banner_puts_the_token_that_renews_itself_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, more: str
) -> None:
    monkeypatch.chdir(tmp_path)
    *_, first, hour, url, token = shown(tmp_path, text, lab=tmp_path / "keys").rstrip().splitlines()
    assert first.split("   # ")[0].endswith(f"extproc claude{more}")
    assert "an hour" in hour
    assert url.startswith("  export ANTHROPIC_BASE_URL=http://127.0.0.1:")
    assert token.startswith("  export ANTHROPIC_AUTH_TOKEN=$(") and token.endswith("extproc token)")
    assert f" --keys '{tmp_path}/my keys'" in shown(tmp_path, text, lab=tmp_path / "my keys")


@pytest.mark.parametrize(
    ("inside", "on_path", "expected"),
    [(True, False, ".venv/bin/extproc"), (False, True, "extproc"), (False, False, "{}/.venv/bin/extproc")],
)
def test_how_the_program_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool, on_path: bool, expected: str
) -> None:
    folder, elsewhere = tmp_path / ".venv" / "bin", tmp_path / "elsewhere"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "extproc").touch(0o755)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder) if on_path else "/nowhere")
    monkeypatch.chdir(tmp_path if inside else elsewhere)
    assert command() == expected.format(tmp_path)


def test_the_banner_says_where_a_clouds_credential_comes_from(tmp_path: Path) -> None:
    more = (
        "  b: {cloud: aws-bedrock, region: eu-central-1, dialects: [messages], auth: {aws: {instance: true}}}\nmodels:"
    )
    text = shown(tmp_path, GATEWAY.replace("models:", more))
    assert "https://bedrock-runtime.eu-central-1.amazonaws.com (aws-bedrock, aws.instance)" in text


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
