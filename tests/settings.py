"""Configurations for tests, from text."""

import json
from pathlib import Path
from typing import Any

from extproc.config import loading
from extproc.config.loading import Source
from extproc.gateway.gateway import Gateway
from extproc.providers.providers import cluster
from tests.issuing import AUDIENCE, ISSUER, jwk

KEY = "sk-provider-key-0123456789"
ENVIRON = {"OPENAI_API_KEY": KEY}

AUTHENTICATION = "authentication: " + json.dumps(
    {
        "jwt": [
            {"issuer": ISSUER, "audiences": [AUDIENCE], "algorithms": ["ES256"], "jwks": {"inline": {"keys": [jwk()]}}}
        ]
    }
)
PROVIDERS = """
providers:
  openai: {dialects: [chat], base_url: "https://api.openai.example/v1", api_key: {env: OPENAI_API_KEY}}
"""
CLUSTER = cluster("openai", "https://api.openai.example/v1")
MODELS = """
models:
  - {name: "claude-*", provider: openai, model: gpt-4o-mini}
"""
PRICED = 'prices: {overrides: [{model: "*", input: 1, output: 1}]}\n'
GATEWAY = f"{AUTHENTICATION}\n{PROVIDERS}\n{MODELS}"


def source(folder: Path, text: str, environ: dict[str, str] | None = None) -> Source:
    path = folder / "gateway.yaml"
    path.write_text(text, "utf-8")
    return loading.load(path, ENVIRON if environ is None else environ)


def gateway(folder: Path, text: str = GATEWAY, environ: dict[str, str] | None = None) -> Gateway:
    return Gateway(source(folder, text, environ), ENVIRON if environ is None else environ)


def faults(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """What is wrong with a configuration, without the file's name in front; of form or of meaning."""
    try:
        gateway(folder, text, environ)
    except loading.Invalid as invalid:
        return [line.removeprefix(f"{folder / 'gateway.yaml'}:") for line in str(invalid).splitlines()]
    return []


def authenticating(**changes: Any) -> str:
    """The first part of a configuration, with another issuer; `mode` and `authentication` stand beside it."""
    beside = {"mode": changes.pop("mode", "strict"), **changes.pop("authentication", {})}
    issuer = {"issuer": ISSUER, "audiences": [AUDIENCE], "algorithms": ["ES256"], "jwks": {"inline": {"keys": [jwk()]}}}
    return "authentication: " + json.dumps({**beside, "jwt": [issuer | changes]})
