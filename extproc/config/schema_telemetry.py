"""The keys of `telemetry` in `gateway.yaml`."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import Secret

Signal = Literal["metrics", "logs", "traces"]

_NO_URL = "expected the URL of a collector without a path, such as http://localhost:4318"


def _collector_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.path.strip("/"):
        raise ValueError(_NO_URL)
    if "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise ValueError(_NO_URL)
    return url.rstrip("/")


class Collector(BaseModel):
    """Where telemetry goes, by OTLP over HTTP: `/v1/metrics`, `/v1/logs` and `/v1/traces` below its URL."""

    model_config = STRICT

    url: Annotated[str, AfterValidator(_collector_url)]
    """Its OTLP over HTTP, without `/v1/metrics` and the like."""
    headers: dict[str, Secret] = {}
    """Further headers, such as the collector's credential."""
    signals: list[Signal] = Field(["metrics", "logs", "traces"], min_length=1)
    """What it gets."""
    ca_file: Path | None = None
    """Trusted roots instead of the public ones, for a private certificate authority."""
    timeout: float = Field(10, gt=0, le=60)
    """Seconds for one request."""
    queue_bytes: int = Field(16 * 1024 * 1024, ge=64 * 1024)
    """What may wait while the collector is slow or down; what does not fit is dropped and counted."""


class Telemetry(BaseModel):
    """Telemetry of signed-in clients. Without collectors it is accepted and dropped."""

    model_config = STRICT

    collectors: list[Collector] = []
    """Each gets what it names; without any, all is dropped."""
    identity: dict[str, str] = {"user.id": "sub", "user.email": "email", "user.groups": "groups"}
    """Attributes that say who sent it, and the claims of the verified token that they come from."""
