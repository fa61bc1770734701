"""An issuer whose keys are fetched, and a gateway that trusts it."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.e2e.stack import Model, Stack, prompt, up

BODY = json.dumps(prompt("hello")).encode()
ISSUER, AUDIENCE = "https://idp.test", "gateway"
# Between two looks, so that the machine's time goes to what is waited for.
PAUSE = 0.05
CONFIG = """
authentication:
  jwt:
    - issuer: {issuer}
      audiences: [gateway, llm-gateway]
      algorithms: [ES256, RS256]
      jwks: {jwks}
authorization:
  allow: ['jwt.team == "data"']
providers:
  openai: {{dialects: [chat], base_url: "${{MODEL_URL}}", api_key: {{env: MODEL_KEY}}}}
models:
  - {{name: "claude-*", provider: openai, model: gpt-4o-mini}}
"""


def gateway(
    folder: Path,
    model: Model,
    jwks: dict[str, Any],
    issuer: str = ISSUER,
    workers: int = 1,
    more: str = "",
    port: int | None = None,
) -> AbstractContextManager[Stack]:
    config = CONFIG.format(issuer=json.dumps(issuer), jwks=json.dumps(jwks)) + more
    arguments = ["--workers", str(workers)]
    return up(folder, environ={"MODEL_URL": model.url}, config=config, arguments=arguments, port=port)


class Signer:
    """One key of an issuer."""

    def __init__(self, kid: str, issuer: str = ISSUER) -> None:
        self._issuer = issuer
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = kid
        self.jwk = {**json.loads(ECAlgorithm.to_jwk(self._key.public_key())), "kid": kid}

    def token(self, **header: Any) -> str:
        claims = {"iss": self._issuer, "aud": AUDIENCE, "sub": "ann", "team": "data", "exp": int(time.time()) + 600}
        payload = json.dumps({**claims, "jti": str(time.monotonic_ns())}).encode()
        return jwt.api_jws.encode(payload, self._key, algorithm="ES256", headers={"kid": self._kid, **header})


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(PAUSE)
