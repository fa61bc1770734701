"""The keys of `gateway.yaml` for what is seen of calls: `records`, `metrics`, `health` and `tracing`."""

import re

from pydantic import BaseModel, Field, model_validator

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import BaseUrl, Secret


class HttpListener(BaseModel):
    """Address of a page that the supervisor serves by HTTP."""

    model_config = STRICT

    address: str = "127.0.0.1"
    """IP address that it listens on."""
    port: int = Field(ge=1, le=65535)
    """TCP port."""


class Health(HttpListener):
    """Health checks for Kubernetes and compose: `http://ADDRESS:PORT/livez` and `/readyz`."""


class Metrics(HttpListener):
    """Metrics for Prometheus: `http://ADDRESS:PORT/metrics`. `/livez` and `/readyz` are served there, too."""

    claims: list[str] = []
    """Claims of the token that become labels, `caller_<claim>`."""

    @model_validator(mode="after")
    def _distinct(self) -> "Metrics":
        if len({label_of(claim) for claim in self.claims}) < len(self.claims):
            raise ValueError("two of these claims would make the same label")
        return self


def label_of(claim: str) -> str:
    """Returns the label of a claim. https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels"""
    return "caller_" + re.sub(r"[^a-zA-Z0-9_]", "_", claim)


class Tracing(BaseModel):
    """One span for each call, sent by OTLP over HTTP."""

    model_config = STRICT

    endpoint: BaseUrl
    """URL of a collector, such as http://localhost:4318. `/v1/traces` is added unless it has a path of its own."""
    headers: dict[str, Secret] = {}
    """Headers sent with the spans, such as the collector's key."""
    sample: float = Field(1.0, ge=0, le=1)
    """The share of calls that are traced if the caller has not decided."""


class Records(BaseModel):
    """Fields of the log."""

    model_config = STRICT

    claims: list[str] = []
    """Claims of the token that appear in every record as `caller.<claim>`."""
    provider_header: bool = False
    """Answers name the provider that gave them in the header `x-gateway-provider`."""
