"""`extproc check --model`, `--body`, `--target` for a model with several providers: which would be asked, and why."""

import json
from pathlib import Path

import pytest

from extproc.cli import main
from tests.issuing import claims, token
from tests.settings import ENVIRON, GATEWAY

CONFIG = f"""{GATEWAY.partition("providers:")[0]}
providers:
  near: {{dialects: [chat], base_url: "https://near.example/v1"}}
  far: {{dialects: [messages], base_url: "https://far.example"}}
  large: {{dialects: [chat], base_url: "https://large.example/v1"}}
  small: {{dialects: [chat], base_url: "https://small.example/v1"}}
models:
  - name: "claude-*"
    providers:
      - {{provider: near, model: gpt-4o}}
      - {{provider: far, model: claude-sonnet-5, require: 'jwt.team == "gold"'}}
    failover: {{attempts: 2}}
    choose:
      - {{when: llm.size > 2000, providers: [{{provider: large, model: long-context}}]}}
      - {{when: llm.background, providers: [{{provider: small, model: qwen3-8b}}, {{provider: near, model: mini}}]}}
  - {{name: single, provider: near}}
"""


OWN = next(n for n, text in enumerate(CONFIG.splitlines(), 1) if text == "    providers:")


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXTPROC_TOKEN", raising=False)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def check(capsys: pytest.CaptureFixture[str], *words: str, team: str = "gold") -> tuple[int, list[str]]:
    """The lines about providers."""
    status = main.main(["check", "--token", token(claims(team=team)), *words])
    out, err = capsys.readouterr()
    assert not err
    return status, [line for line in out.splitlines() if line.startswith(("model", "chosen", "asked", "skip", "left"))]


def body(text: str) -> str:
    messages = [{"role": "user", "content": text}]
    Path("body.json").write_text(json.dumps({"model": "claude-x", "max_tokens": 9, "messages": messages}))
    return "body.json"


def line(text: str) -> int:
    return next(number for number, one in enumerate(CONFIG.splitlines(), 1) if text in one)


def test_the_models_own_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "--model", "claude-x") == (
        0,
        [
            "model    claude-x: one of several providers",
            f"chosen   models.0.providers (gateway.yaml:{OWN})",
            "asked 1  near: gpt-4o",
            "asked 2  far: claude-sonnet-5",
        ],
    )


def test_a_candidate_that_the_caller_may_not_use(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = check(capsys, "--model", "claude-x", team="silver")
    assert status == 0
    assert said[2:] == ["asked 1  near: gpt-4o", "skipped  far: claude-sonnet-5, which this caller may not use"]


def test_a_large_body_chooses_other_providers(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = check(capsys, "--body", body("x" * 2001))
    assert (status, said[1:]) == (
        0,
        [f"chosen   models.0.choose.0 (gateway.yaml:{line('llm.size')})", "asked 1  large: long-context"],
    )
    assert check(capsys, "--body", body("x"))[1][1].startswith("chosen   models.0.providers ")


def test_a_call_in_the_background_chooses_other_providers(capsys: pytest.CaptureFixture[str]) -> None:
    header = "x-claude-code-request-class: auxiliary"
    status, said = check(capsys, "--body", body("x"), "--header", header)
    assert (status, said[1:]) == (
        0,
        [
            f"chosen   models.0.choose.1 (gateway.yaml:{line('llm.background')})",
            "asked 1  small: qwen3-8b",
            "asked 2  near: mini",
        ],
    )


def test_a_model_with_one_provider_needs_no_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "--model", "single") == (0, ["model    single: single of near"])


def test_envoy_gateway_cannot_move_calls_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "--target", "envoy-gateway"]) == 2
    out, err = capsys.readouterr()
    [fault] = [one for one in (out + err).splitlines() if "models.0.providers" in one]
    assert fault.startswith(f"gateway.yaml:{OWN}: models.0.providers: Envoy Gateway's policies have no filters")
    Path("gateway.yaml").write_text(GATEWAY)
    assert main.main(["check", "--target", "envoy-gateway"]) == 0
