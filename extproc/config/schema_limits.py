"""The keys of `limits` in `gateway.yaml`."""

from pydantic import BaseModel, Field

from extproc.config.schema_tls import STRICT

REFUSALS_BURST = 20
"""So many times `limits.refusals_logged` may be logged at once."""


class BodyLimits(BaseModel):
    """What one request's body may hold. A body with more is refused with 400. The defaults are far above what clients
    send, and low enough that a body can be translated within `seconds`."""

    model_config = STRICT

    tools: int = Field(10_000, ge=1)
    turns: int = Field(100_000, ge=1)
    """Messages, or items of a Responses request."""
    parts: int = Field(200_000, ge=1)
    """Parts of all turns together."""
    values: int = Field(1_000_000, ge=1000)
    """JSON values of any kind."""
    depth: int = Field(200, ge=10)
    """Levels of nesting in a body above 128 KiB; smaller bodies may have about 1,000."""
    seconds: float = Field(2, gt=0, le=3)
    """CPU time for a heavy body, which another process translates; 413 beyond that. Envoy waits 5 s for the worker."""


class Limits(BaseModel):
    """What is in progress at one time. Calls beyond it get 503 and `retry-after`."""

    model_config = STRICT

    calls: int = Field(2000, ge=1)
    """Calls in progress in one worker."""
    body_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    """Bytes of bodies in one worker; a body counts from its arrival until the provider answers."""
    caller_share: float = Field(25, gt=0, le=100)
    """Percent of `calls` and `body_bytes` that one caller may have, one call and one body in any case; calls beyond
    that get 429. Otherwise one caller could lock out all others. Callers without a credential are told apart by their
    address. 100: no share."""
    body_min_rate: float = Field(8192, gt=0)
    """Bytes a second, by which a body must be whole `body_idle_seconds` after its headers at the latest. Low enough for
    a mobile network: 1 MB may take 158 s."""
    body_idle_seconds: float = Field(30, gt=0)
    """How long a body may stop before it is complete. Keep it above 5: the processor may take that long to decide."""
    connections: int = Field(20_000, ge=1)
    """Client connections to one Envoy; further ones are closed."""
    idle_connection_seconds: float = Field(60, gt=0)
    """How long a connection may be without a request; less when more than 90 % of `connections` are open. Behind a load
    balancer set this above its own idle timeout, or connections close just as it uses them."""
    streams_per_connection: int = Field(100, ge=1)
    """Concurrent HTTP/2 streams of one connection."""
    early_resets: int = Field(500, ge=1)
    """HTTP/2: streams of a connection that its client may reset in their first second without having got an answer, if
    they are more than half of all its streams; then the connection is closed. An editor that cancels completions as
    somebody types stays below; an attack comes there within a second."""
    memory_bytes: int = Field(1024 * 1024 * 1024, ge=128 * 1024 * 1024)
    """Memory of one Envoy. From 30 % on new calls are refused, from 35 % on those that hold most are reset."""
    request_seconds: float = Field(600, gt=0)
    """How long a whole request may take to arrive."""
    refusals_logged: float = Field(10, gt=0)
    """Refusals of callers without a credential that each worker, and Envoy, writes into the log in a second; twenty
    times as many at once. Strangers cannot fill a disk; what is left out is counted."""
    body: BodyLimits = BodyLimits()
