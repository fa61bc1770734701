"""Token endpoints of three clouds on one port: each verifies what it is given, and hands out what can be told apart."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

import jwt
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.clouds import KEYS, Received, signed
from tests.e2e.serving import serving
from tests.e2e.stack import Json

ROLE = "arn:aws:iam::111122223333:role/gateway"
_PEM = serialization.Encoding.PEM


GOOGLES_TOKENS = "https://oauth2.googleapis.com/token"
"""The audience that Google's own library names, whatever the key file says."""


class TokenServer:
    """`lifetime`: seconds for which what it hands out is good."""

    def __init__(self, lifetime: float = 3600) -> None:
        self.lifetime = lifetime
        self.issued = 0
        self.is_down = False
        self.assertion = ""
        """The last by which a service account of Google's has proven itself."""
        self.asked: list[str] = []
        self.url = ""
        self.key = rsa.generate_private_key(65537, 2048)
        self._verify_sts = signed("eu-central-1", "sts")

    @property
    def token(self) -> str:
        """The newest."""
        return f"token-number-{self.issued}"

    def aws(self, number: int = 0) -> Credentials:
        """Those with this number; 0: the newest."""
        number = number or self.issued
        return Credentials(f"ASIA{number:016}", f"secret-{number:033}", f"session-token-{number}")

    def service_account(self) -> Json:
        """The JSON key."""
        pem = self.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return {
            "type": "service_account",
            "client_email": "gateway@p.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "private_key_id": "key-1",
            "token_uri": f"{self.url}/google/token",
        }

    @contextlib.contextmanager
    def serving(self) -> Iterator["TokenServer"]:
        with serving(self._handler()) as self.url:
            yield self

    def answer(self, method: str, received: Received) -> tuple[int, bytes]:
        path = urlsplit(received.target).path
        self.asked.append(f"{method} {path}")
        if self.is_down:
            return 503, b'{"error": "temporarily_unavailable"}'
        fields = dict(parse_qsl(received.raw.decode()))
        routes: dict[str, Callable[[Received, str, dict[str, str]], tuple[int, bytes]]] = {
            "/google/token": self._google,
            "/sts": self._sts,
            "/container": self._container,
            "/latest/api/token": self._instance,
            "/latest/meta-data/iam/security-credentials/": self._instance,
            "/latest/meta-data/iam/security-credentials/gateway": self._instance,
            "/computeMetadata/v1/instance/service-accounts/default/token": self._metadata,
            "/metadata/identity/oauth2/token": self._managed,
            "/msi/token": self._app_service,
            "/tenant-1/oauth2/v2.0/token": self._entra,
            "/google/exchange": self._exchange,
            "/google/impersonate": self._impersonate,
        }
        handler = routes.get(path)
        return handler(received, method, fields) if handler is not None else (404, b"{}")

    def _new_token(self) -> tuple[int, bytes]:
        self.issued += 1
        return 200, json.dumps(
            {"access_token": self.token, "expires_in": self.lifetime, "token_type": "Bearer"}
        ).encode()

    def _ends(self) -> str:
        return datetime.fromtimestamp(time.time() + self.lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _google(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        if fields["grant_type"] == "refresh_token":
            good = (fields["client_id"], fields["client_secret"], fields["refresh_token"]) == ("c", "s", "r")
            return self._new_token() if good else (400, b'{"error": "invalid_grant"}')
        assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        url = f"{self.url}/google/token"
        self.assertion = fields["assertion"]
        claims = jwt.decode(fields["assertion"], self.key.public_key(), ["RS256"], audience=[url, GOOGLES_TOKENS])
        good = claims["scope"] == "https://www.googleapis.com/auth/cloud-platform" and claims["iss"].startswith(
            "gateway@"
        )
        return self._new_token() if good else (400, b'{"error": "invalid_grant"}')

    def _exchange(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        good = (fields["subject_token"], fields["audience"]) == ("subject", "//iam.googleapis.com/pool")
        return self._new_token() if good else (400, b'{"error": "invalid_target"}')

    def _impersonate(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        if received.headers["authorization"] != f"Bearer {self.token}":
            return 401, b"{}"
        self.issued += 1
        return 200, json.dumps({"accessToken": self.token, "expireTime": self._ends()}).encode()

    def _metadata(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        return self._new_token() if received.headers.get("metadata-flavor") == "Google" else (403, b"{}")

    def _managed(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        query = dict(parse_qsl(urlsplit(received.target).query))
        good = received.headers.get("metadata") == "true" and query["api-version"] == "2018-02-01"
        return self._new_token() if good and query["resource"].startswith("https://") else (400, b"{}")

    def _app_service(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        query = dict(parse_qsl(urlsplit(received.target).query))
        good = (query["api-version"], query["resource"], query["client_id"]) == (
            "2019-08-01",
            "https://ai.azure.com",
            "id-1",
        )
        return self._new_token() if good and received.headers.get("x-identity-header") == "the header" else (400, b"{}")

    def _entra(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        proof = fields.get("client_secret") or fields.get("client_assertion")
        good = (fields["grant_type"], proof) == ("client_credentials", "the proof") and fields["scope"].endswith(
            "/.default"
        )
        return self._new_token() if good else (401, b'{"error": "invalid_client"}')

    def _sts(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        by_token = fields["Action"] == "AssumeRoleWithWebIdentity" and fields["WebIdentityToken"] == "the proof"
        by_keys = fields["Action"] == "AssumeRole" and self._verify_sts(received, method) is None
        if fields["RoleArn"] != ROLE or fields["Version"] != "2011-06-15" or not (by_token or by_keys):
            return 403, b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
        self.issued += 1
        now = self.aws()
        inner = f"<AccessKeyId>{now.access_key}</AccessKeyId><SecretAccessKey>{now.secret_key}</SecretAccessKey>"
        inner += f"<SessionToken>{now.token}</SessionToken><Expiration>{self._ends()}</Expiration>"
        return (
            200,
            f"<R xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Credentials>{inner}</Credentials></R>".encode(),
        )

    def _temporary(self) -> tuple[int, bytes]:
        self.issued += 1
        now = self.aws()
        found = {"AccessKeyId": now.access_key, "SecretAccessKey": now.secret_key, "Token": now.token}
        return 200, json.dumps({**found, "Expiration": self._ends(), "Code": "Success"}).encode()

    def _container(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        return self._temporary() if received.headers.get("authorization") == "the proof" else (401, b"{}")

    def _instance(self, received: Received, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        if method == "PUT":
            return 200, b"imds-session"
        if received.headers.get("x-aws-ec2-metadata-token") != "imds-session":
            return 401, b""
        return (200, b"gateway") if received.target.endswith("/") else self._temporary()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                pass

        def handle(handler: BaseHTTPRequestHandler) -> None:
            raw = handler.rfile.read(int(handler.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in handler.headers.items()}
            status, body = tokens.answer(handler.command, Received(handler.path, headers, raw))
            handler.send_response(status)
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        for method in ("GET", "POST", "PUT"):
            setattr(Handler, f"do_{method}", handle)
        return Handler


SENT_KEYS = {"KEY_ID": KEYS.access_key, "SECRET_KEY": KEYS.secret_key}
