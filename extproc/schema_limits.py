"""The keys of `limits` in `gateway.yaml`."""

from pydantic import BaseModel, Field

from extproc.schema_tls import STRICT

REFUSALS_BURST = 20
"""Times `limits.refusals_logged`, for a moment."""


class BodyLimits(BaseModel):
    """What one request's body may hold; beyond that it is refused with 400. Far more than any client sends, and little
    enough to be translated within `seconds`."""

    model_config = STRICT

    tools: int = Field(10_000, ge=1)
    turns: int = Field(100_000, ge=1)
    """Messages, or items of a Responses request."""
    parts: int = Field(200_000, ge=1)
    """Of all turns."""
    values: int = Field(1_000_000, ge=1000)
    """JSON values of any kind."""
    depth: int = Field(200, ge=10)
    """Of bodies above 128 KiB; smaller ones may have about 1,000 levels."""
    seconds: float = Field(2, gt=0, le=3)
    """CPU time for a heavy body, which another process translates; 413 beyond that. Envoy waits 5 s for the worker."""


class Limits(BaseModel):
    """What is taken on at a time; calls beyond that get 503 and `retry-after`."""

    model_config = STRICT

    calls: int = Field(2000, ge=1)
    """Of one worker."""
    body_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    """Of one worker; bodies count from their arrival until the provider answers."""
    caller_share: float = Field(25, gt=0, le=100)
    """Percent of `calls` and `body_bytes` that one caller may have, one call and one body in any case; calls beyond
    that get 429. Otherwise one caller could lock out all others. Callers without a credential are told apart by their
    address. 100: no share."""
    body_min_rate: float = Field(8192, gt=0)
    """Bytes a second, by which a body must be whole `body_idle_seconds` after its headers at the latest. Low enough for
    a mobile network: 1 MB may take 158 s."""
    body_idle_seconds: float = Field(30, gt=0)
    """Without a byte of a body that is still to come. Keep it above 5, which the processor may take for a decision."""
    connections: int = Field(20_000, ge=1)
    """Of Envoy; those beyond are closed."""
    idle_connection_seconds: float = Field(60, gt=0)
    """Without a request; less when more than 90 % of `connections` are open. A load balancer that keeps connections for
    longer sees some closed as it uses them: set this above the balancer's own idle timeout."""
    streams_per_connection: int = Field(100, ge=1)
    """HTTP/2."""
    early_resets: int = Field(500, ge=1)
    """HTTP/2: streams of a connection that its client may reset in their first second without having got an answer, if
    they are more than half of all its streams; then the connection is closed. An editor that cancels completions as
    somebody types stays below; an attack comes there within a second."""
    memory_bytes: int = Field(1024 * 1024 * 1024, ge=128 * 1024 * 1024)
    """Of Envoy. When 30 % are in use new calls are refused, from 35 % on those that hold most are reset."""
    request_seconds: float = Field(600, gt=0)
    """For a request to arrive as a whole."""
    refusals_logged: float = Field(10, gt=0)
    """A second, by each worker and by Envoy: refusals of callers without a credential that go into the log, so that
    strangers cannot fill a disk; the others are counted. Twenty times as many at once."""
    body: BodyLimits = BodyLimits()
