"""The keys of `gateway.yaml` that name certificates."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
"""For every part of the configuration: no unknown keys, and no value in a message."""


class Tls(BaseModel):
    model_config = STRICT

    certificate: Path
    key: Path


class ListenTls(Tls):
    """The listener's own certificate, and the authorities of its clients' certificates."""

    client_ca: Path | None = None
    """The authorities that issue clients' certificates; absent: none is asked for."""
    client_certificate: Literal["required", "optional"] = "required"
    """`optional`: a client without one may connect; one of another authority may not."""
    connection_seconds: float = Field(3600, ge=1, le=86400)
    """Seconds after which a connection is drained: its certificate is not verified again while it lasts."""

    @model_validator(mode="after")
    def _with_authority(self) -> "ListenTls":
        for name in ("client_certificate", "connection_seconds"):
            if name in self.model_fields_set and self.client_ca is None:
                raise ValueError(f"{name}: needs client_ca, the authorities that issue clients' certificates")
        return self


class ProcessorTls(Tls):
    """What the processor presents on TCP."""

    client_ca: Path
    """The authorities whose certificates it asks its peers for."""


class ProcessorClient(Tls):
    """What the Envoy that is rendered here presents to the processor."""

    ca_file: Path
    """The authorities by which it verifies the processor."""


class Processor(BaseModel):
    """Between Envoy and a processor on TCP: mutual TLS. A Unix socket needs none of it."""

    model_config = STRICT

    tls: ProcessorTls | None = None
    client: ProcessorClient | None = None
    insecure: bool = False
    """Plaintext on addresses that other machines can reach."""

    @model_validator(mode="after")
    def _one_way(self) -> "Processor":
        if self.insecure and (self.tls is not None or self.client is not None):
            raise ValueError("`insecure` is plaintext: it goes with neither `tls` nor `client`")
        return self
