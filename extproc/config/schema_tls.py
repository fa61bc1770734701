"""The keys of `gateway.yaml` that name certificates."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
"""For every part of the configuration: no unknown keys, and no value in a message."""


class Tls(BaseModel):
    model_config = STRICT

    certificate: Path
    key: Path


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
