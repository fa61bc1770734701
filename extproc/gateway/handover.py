"""What admission hands over to the attempts of a call.

Admission is one ext_proc stream of a call, and each attempt another one, perhaps in another worker. It goes as metadata
of Envoy's, of which each attempt's cluster makes a header and removes it again; no header of a client's has a say. It
holds neither a credential nor a text of the client's.
"""

import base64
from collections.abc import Mapping, Sequence

import msgspec

from extproc.config.endpoints import Endpoint, Operation
from extproc.config.schema_models import Failover
from extproc.events import Headers
from extproc.policy.admit import caller_id
from extproc.policy.facts import ANONYMOUS, Accepted, Examined, Request
from extproc.providers.catalogue import Resolved
from extproc.translate.dialects.messages.read_request import SESSION
from extproc.wire import Dialect

HANDOVER = "x-extproc-handover"
"""As a header, from the begin of an attempt until the request leaves for its provider."""
ORDER = "extproc.order"
"""Namespace of the metadata that admission sets: in which order providers are asked, and what they are told."""
MOVE_ON = "x-extproc-move-on"
"""Set by an attempt on an answer that the client shall not get, so that Envoy begins the next one."""
MIRROR = "x-extproc-mirror"
"""Names the cluster that gets a copy of the call; Envoy reads it before the first attempt begins."""
MIRRORED = "x-extproc-mirrored"
"""What the copy's attempt is told. Metadata does not go with a copy, so this one is a header."""
NUMBER = "x-extproc-attempt"
"""The number of an attempt, from 1; Envoy sets it for each."""
POOL = "attempts"
"""Stands in the place of a cluster in the verdict on a call that may be tried at several."""
NAMESPACE = "extproc.attempt"
"""Namespace of the metadata by which attempts tell each other and admission what became of them."""

# Those of the client's headers that translators read.
_READ = ("anthropic-version", "anthropic-beta", SESSION)


class Handover(msgspec.Struct, frozen=True, array_like=True):
    configuration: int
    """Its number, for a reload may come in the midst of a call."""
    started: float
    """Unix seconds."""
    request_id: str
    path: str
    query: str
    dialect: Dialect
    endpoint: str
    operation: Operation
    name: str
    """The model's, as resolved."""
    asked: str
    """The model's, as the client wrote it."""
    rule: int
    """Index of the entry of `models`."""
    order: tuple[int, ...]
    """Numbers of the candidates, in the order in which they are asked."""
    headers: dict[str, str]
    """Those of the client's that translators read."""
    caller: str
    """Whose turn it is where bodies wait for each other."""
    trace: dict[str, str]
    """What ties the spans of the attempts to that of the call."""

    @property
    def call(self) -> Accepted:
        """The call, as far as an attempt needs it."""
        endpoint = Endpoint(self.endpoint, self.operation, self.dialect, "POST")
        request = Request(
            started=self.started,
            method="POST",
            path=self.path,
            query=self.query,
            headers=Headers(self.headers.items()),
            request_id=self.request_id,
        )
        return Accepted(request=request, dialect=self.dialect, endpoint=endpoint, caller=ANONYMOUS)


def handover(examined: Examined, order: Sequence[Resolved], configuration: int, trace: Mapping[str, str]) -> Handover:
    """`order`: the candidates, as they are asked. `configuration`: number of the one in force where the call was
    admitted."""
    call = examined.call
    request = call.request
    return Handover(
        configuration,
        request.started,
        request.request_id,
        request.path,
        request.query if call.endpoint.cloud is None else "",
        call.dialect,
        call.endpoint.name,
        call.endpoint.operation,
        examined.resolved.name,
        examined.model,
        examined.resolved.rule.index,
        tuple(one.rule.number for one in order),
        {name: value for name in _READ if (value := request.headers.get(name))},
        " ".join(caller_id(call)),
        dict(trace),
    )


def retries(failover: Failover, attempts: int) -> dict[str, str]:
    """Returns the headers by which Envoy's router is told when to begin another attempt without being asked to, and
    how often in all. https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter"""
    # Envoy's router obeys these whoever has sent them, so a client's go with all that is not on the allow-list.
    found = {"x-envoy-max-retries": str(attempts - 1)}
    on = failover.on
    # To Envoy a timeout is a reset, and a connection that fails is one, too.
    kinds = ["connect-failure,refused-stream"] if "connect" in on else []
    kinds += ["reset"] if "reset" in on or "timeout" in on else []
    if kinds:
        found["x-envoy-retry-on"] = ",".join(kinds)
    if "timeout" in on:
        found["x-envoy-upstream-rq-per-try-timeout-ms"] = str(round(failover.per_try_timeout * 1000))
    return found


def encoded(found: Handover) -> str:
    """Returns it as a header's value, in ASCII."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(found)).decode()


def decoded(value: str) -> Handover:
    """Raises ValueError for what no admission has written."""
    return msgspec.msgpack.decode(base64.urlsafe_b64decode(value), type=Handover)
