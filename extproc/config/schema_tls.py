"""The keys of `gateway.yaml` that name certificates."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
"""For every part of the configuration: no unknown keys, and no value in a message."""


class Tls(BaseModel):
    """A certificate and its key. Both files are read again when they change."""

    model_config = STRICT

    certificate: Path
    """PEM file: the certificate, then its intermediates."""
    key: Path
    """PEM file: the private key, without a passphrase."""


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
    """The certificate that the processor presents on TCP."""

    client_ca: Path
    """PEM file: the authorities that issue the certificates of its peers."""


class ProcessorClient(Tls):
    """The certificate that Envoy presents to the processor, where its files are rendered."""

    ca_file: Path
    """PEM file: the authorities by which Envoy verifies the processor."""


class Processor(BaseModel):
    """Mutual TLS between Envoy and a processor on TCP. A Unix socket needs none of it."""

    model_config = STRICT

    tls: ProcessorTls | None = None
    """For the processor's machine: its certificate, and the authorities of its peers."""
    client: ProcessorClient | None = None
    """For the machine where Envoy's files are rendered: Envoy's certificate, and the processor's authorities."""
    insecure: bool = False
    """Allows plaintext on addresses that other machines can reach."""

    @model_validator(mode="after")
    def _one_way(self) -> "Processor":
        if self.insecure and (self.tls is not None or self.client is not None):
            raise ValueError("`insecure` allows plaintext, so `tls` and `client` must be absent")
        return self
