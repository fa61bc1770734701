"""A real OpenID provider, over TLS, in a process of its own: `python -m tests.e2e.identity_provider PORT PEM`.

It is the package oidc-provider-mock, which has one key for its whole life; started again it has another.
"""

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.e2e.stack import SECONDS, Lines

CLIENT, REDIRECT = "llm-gateway", "https://app.test/callback"
READY = "ready"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class IdentityProvider:
    issuer: str
    roots: Path

    def id_token(self, user: str, **claims: Any) -> str:
        """By the authorization code flow, as a person's client does it."""
        trusted = ssl.create_default_context(cafile=self.roots)
        asked = {"client_id": CLIENT, "redirect_uri": REDIRECT, "response_type": "code", "scope": "openid"}
        with httpx.Client(base_url=self.issuer, verify=trusted, timeout=SECONDS) as client:
            client.put(f"/users/{user}", json=claims).raise_for_status()
            redirect = client.post("/oauth2/authorize", params=asked, data={"sub": user})
            [code] = parse_qs(urlsplit(redirect.headers["location"]).query)["code"]
            form = {"grant_type": "authorization_code", "code": code, "client_secret": "any"} | asked
            answer = client.post("/oauth2/token", data=form).raise_for_status()
        token: str = answer.json()["id_token"]
        return token


@contextlib.contextmanager
def identity_provider(folder: Path, port: int) -> Iterator[IdentityProvider]:
    """With the certificate in `folder`, see tests.certificates."""
    command = [sys.executable, "-m", "tests.e2e.identity_provider", str(port), str(folder / "server.pem")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert process.stdout is not None
    lines = Lines(process.stdout)
    try:
        lines.first(lambda line: line if line == READY else None)
        yield IdentityProvider(f"https://localhost:{port}", folder / "ca.pem")
    finally:
        process.kill()
        process.wait()
        lines.thread.join(SECONDS)


def main(port: int, certificate: str) -> None:
    # Its imports warn, and in tests warnings are errors. It is published without py.typed.
    import oidc_provider_mock  # type: ignore[import-untyped]  # noqa: PLC0415
    import werkzeug.serving  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = werkzeug.serving.make_server(
        "127.0.0.1", port, oidc_provider_mock.app(), threaded=True, ssl_context=context
    )
    print(READY, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
