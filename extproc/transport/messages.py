"""Envoy's messages to events, actions to Envoy's messages."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf import struct_pb2

from extproc import pb
from extproc.envoy.attributes import (
    ATTEMPTS_MADE,
    CHAIN,
    CLUSTER,
    DETAILS,
    SHA256,
    SOURCE,
    SUBJECT,
    URI,
    VERIFIED_CLIENTS,
)
from extproc.events import (
    Action,
    AnswerBody,
    AttemptHeaders,
    AwaitBody,
    BeginAnswer,
    Event,
    Forward,
    HandOver,
    Headers,
    Pass,
    PassAnswer,
    PeerCertificate,
    Record,
    ReplaceBody,
    RequestBody,
    RequestHeaders,
    Respond,
    ResponseBody,
    ResponseHeaders,
)
from extproc.gateway.handover import HANDOVER, MIRRORED, NUMBER, ORDER
from extproc.gateway.handover import NAMESPACE as ATTEMPT_NAMESPACE
from extproc.gateway.record import CALLER, MAX_NAME, cut, metadata_key, presentable
from extproc.printable import printable
from extproc.providers.providers import MIRROR_CLUSTERS

NAMESPACE = "extproc"
_FILTER = "envoy.filters.http.ext_proc"

# What a mode means:
# https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/ext_proc/v3/processing_mode.proto.
# Given with the request headers, because one given at the response headers comes too late to hold those back.
_READ_ANSWER = pb.ProcessingMode(
    # Said again, since an override replaces the modes of both bodies: one that is left out is NONE.
    request_body_mode=pb.ProcessingMode.BUFFERED,
    response_header_mode=pb.ProcessingMode.SEND,
    response_body_mode=pb.ProcessingMode.FULL_DUPLEX_STREAMED,
    response_trailer_mode=pb.ProcessingMode.SEND,
)

_READ_ANSWERS_HEADERS = pb.ProcessingMode(
    request_body_mode=pb.ProcessingMode.NONE, response_header_mode=pb.ProcessingMode.SEND
)
# Given with the response headers, it holds those back as no other mode would then (Envoy 1.40).
_READ_ANSWERS_BODY = pb.ProcessingMode(response_body_mode=pb.ProcessingMode.BUFFERED)


class Unexpected(Exception):
    """Envoy sent what its configuration does not let it send."""


def to_event(request: pb.ProcessingRequest) -> Event:
    match request.WhichOneof("request"):
        case "request_headers" if cluster := _attribute(request, CLUSTER):
            return _attempt(request, cluster)
        case "request_headers":
            end = request.request_headers.end_of_stream
            source, certificate = _attribute(request, SOURCE), _certificate(request)
            return RequestHeaders(_headers(request.request_headers), end, source, certificate)
        case "request_body":
            # All of it, though `end_of_stream` is false where trailers follow (Envoy 1.40).
            return RequestBody(request.request_body.body)
        # May come in the place of the request's body: Envoy shows its own refusals, too, as of one that is too large.
        case "response_headers":
            headers = _headers(request.response_headers)
            status = int(headers.get(":status", "0"))
            return ResponseHeaders(
                status,
                headers,
                request.response_headers.end_of_stream,
                _attribute(request, DETAILS),
                attempts_record(request),
                _number(request, ATTEMPTS_MADE),
            )
        case "response_body":
            end = request.response_body.end_of_stream
            return ResponseBody(request.response_body.body, end, attempts_record(request) if end else {})
        # The body is at its end, without a last piece.
        case "response_trailers":
            return ResponseBody(b"", end=True, attempts=attempts_record(request))
        case other:
            raise Unexpected(other)


def _attempt(request: pb.ProcessingRequest, cluster: str) -> AttemptHeaders:
    headers = _headers(request.request_headers)
    number = headers.get(NUMBER)
    mirrors = cluster.startswith(MIRROR_CLUSTERS)
    return AttemptHeaders(
        cluster,
        int(number) if number.isdecimal() and len(number) < 4 else 0,
        headers.get(MIRRORED if mirrors else HANDOVER),
        frozenset(headers.names()),
        attempts_record(request),
        mirrors,
    )


def attempts_record(request: pb.ProcessingRequest) -> Record:
    """Returns what the attempts of a call have put on record; empty for a call that has none."""
    known = request.metadata_context.filter_metadata
    if ATTEMPT_NAMESPACE not in known:
        return {}
    found: Record = {}
    for name, value in known[ATTEMPT_NAMESPACE].fields.items():
        match value.WhichOneof("kind"):
            case "string_value":
                found[name] = value.string_value
            case "bool_value":
                found[name] = value.bool_value
            case "number_value":
                number = value.number_value
                found[name] = int(number) if number.is_integer() else number
            case _:
                pass
    return found


def to_responses(
    actions: Iterable[Action], request: pb.ProcessingRequest | None, *, of_attempt: bool = False
) -> list[pb.ProcessingResponse]:
    """`request`: what the actions reply to; None when nothing was asked. Trailers want a reply of their own,
    and then it is they that end the body. `of_attempt`: what is put on record is for admission to see, too."""
    trailers = request is not None and request.HasField("response_trailers")
    namespaces = (NAMESPACE, ATTEMPT_NAMESPACE) if of_attempt else (NAMESPACE,)
    responses = [_response(action, trailers, namespaces) for action in actions]
    if trailers:
        responses.append(pb.ProcessingResponse(response_trailers=pb.TrailersResponse()))
    return responses


def _response(action: Action, trailers: bool, namespaces: Sequence[str]) -> pb.ProcessingResponse:
    response = _bare(action, trailers)
    _set_metadata(response, action.record, namespaces)
    if isinstance(action, HandOver):
        order = response.dynamic_metadata.fields[ORDER].struct_value
        order.MergeFromString(_order(action.clusters))
        order.fields["handover"].string_value = action.handover
    return response


@lru_cache(maxsize=1024)
def _order(clusters: tuple[str, ...]) -> bytes:
    """A Struct in the form that Envoy reads for each call, encoded, for making it is slow:
    https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/router/cluster_specifiers/priority_group/v3/priority_group.proto"""
    groups: list[Any] = [
        {"name": str(number), "clusters": [{"cluster_name": cluster, "weight": 1}]}
        for number, cluster in enumerate(clusters)
    ]
    found = struct_pb2.Struct()
    found.update({"priority_groups": groups})
    return found.SerializeToString()


def _bare(action: Action, trailers: bool) -> pb.ProcessingResponse:
    match action:
        case AwaitBody():
            return pb.ProcessingResponse(request_headers=pb.HeadersResponse(), mode_override=_READ_ANSWER)
        case Forward():
            return pb.ProcessingResponse(request_body=pb.BodyResponse(response=_forward(action)))
        case HandOver():
            mutation = _mutation(action.set_headers, action.remove_headers)
            changed = pb.BodyMutation(body=action.opened) if action.opened is not None else None
            # Envoy 1.40 ignores `clear_route_cache` in a reply without a mutation of headers.
            common = pb.CommonResponse(header_mutation=mutation, body_mutation=changed, clear_route_cache=True)
            return pb.ProcessingResponse(request_body=pb.BodyResponse(response=common))
        case Pass():
            mutation = _mutation(action.set_headers, action.remove_headers)
            common = pb.CommonResponse(header_mutation=mutation, clear_route_cache=True)
            headers = pb.HeadersResponse(response=common)
            return pb.ProcessingResponse(
                request_headers=headers, mode_override=_READ_ANSWER if action.read_answer else _READ_ANSWERS_HEADERS
            )
        case PassAnswer():
            common = pb.CommonResponse(header_mutation=_mutation({}, action.remove_headers))
            mode = _READ_ANSWERS_BODY if action.read_body else None
            return pb.ProcessingResponse(response_headers=pb.HeadersResponse(response=common), mode_override=mode)
        case ReplaceBody():
            return pb.ProcessingResponse(response_body=pb.BodyResponse(response=_replaced(action)))
        # Envoy ignores a `content-length` or `:status` among these headers, and does not show the answer to the
        # processor.
        case Respond():
            return pb.ProcessingResponse(immediate_response=_immediate(action))
        case BeginAnswer():
            mutation = _mutation({":status": str(action.status), **action.set_headers}, action.remove_headers)
            common = pb.CommonResponse(header_mutation=mutation)
            return pb.ProcessingResponse(response_headers=pb.HeadersResponse(response=common))
        # In FULL_DUPLEX_STREAMED any number of pieces may answer one of Envoy's, also none, and also unasked, as a ping
        # does.
        case AnswerBody():
            piece = pb.StreamedBodyResponse(body=action.body, end_of_stream=action.end and not trailers)
            common = pb.CommonResponse(body_mutation=pb.BodyMutation(streamed_response=piece))
            return pb.ProcessingResponse(response_body=pb.BodyResponse(response=common))


def _forward(action: Forward) -> pb.CommonResponse:
    return pb.CommonResponse(
        header_mutation=_mutation(action.set_headers, action.remove_headers),
        body_mutation=pb.BodyMutation(body=action.body),
        # The route that fits the verdict is found only when routes are looked up again.
        clear_route_cache=True,
    )


def _replaced(action: ReplaceBody) -> pb.CommonResponse:
    headers = {"content-type": action.media} if action.media else {}
    return pb.CommonResponse(
        header_mutation=_mutation(headers, action.remove_headers), body_mutation=pb.BodyMutation(body=action.body)
    )


def _immediate(action: Respond) -> pb.ImmediateResponse:
    return pb.ImmediateResponse(
        status=pb.HttpStatus(code=action.status),
        headers=_mutation(action.headers, ()),
        body=action.body,
        # Envoy writes `_` for each blank in them.
        details=printable(cut(action.details, MAX_NAME)),
    )


def _mutation(fields: dict[str, str], remove: Iterable[str]) -> pb.HeaderMutation:
    mutation = pb.HeaderMutation(remove_headers=remove)
    add = mutation.set_headers.add  # a message that is made first would be copied
    for name, value in fields.items():
        header = add().header
        # `value` gives an empty header and `append_action` is ignored (Envoy 1.40): `raw_value`, and `append` left
        # unset.
        header.key, header.raw_value = name, value.encode("latin-1", "replace")
    return mutation


def _set_metadata(response: pb.ProcessingResponse, record: Record, namespaces: Sequence[str]) -> None:
    if record:
        first, *others = namespaces
        known = response.dynamic_metadata.fields
        fields = known[first].struct_value.fields
        for name, value in presentable(record).items():
            if name.startswith(CALLER):
                name = metadata_key(name)  # noqa: PLW2901
            if isinstance(value, bool):
                fields[name].bool_value = value
            elif isinstance(value, str):
                fields[name].string_value = value
            else:
                fields[name].number_value = value
        for other in others:
            known[other].CopyFrom(known[first])


def _headers(message: pb.HttpHeaders) -> Headers:
    # Envoy fills `raw_value`, and leaves `value` empty.
    # A header's bytes mean what sender and receiver agree on (RFC 9110, section 5.5); latin-1 keeps all of them.
    return Headers((field.key, field.raw_value.decode("latin-1")) for field in message.headers.headers)


def _attribute(request: pb.ProcessingRequest, name: str) -> str:
    fields = request.attributes[_FILTER].fields if _FILTER in request.attributes else {}
    return fields[name].string_value if name in fields else ""


def _number(request: pb.ProcessingRequest, name: str) -> int:
    fields = request.attributes[_FILTER].fields if _FILTER in request.attributes else {}
    return int(fields[name].number_value) if name in fields else 0


def _certificate(request: pb.ProcessingRequest) -> PeerCertificate | None:
    """The client's, where our own listener has verified one."""
    fields = request.attributes[_FILTER].fields if _FILTER in request.attributes else {}
    if SHA256 not in fields or fields[CHAIN].string_value != VERIFIED_CLIENTS:
        return None
    found = PeerCertificate(*(_attribute(request, name) for name in (URI, SUBJECT, SHA256)))
    return found if found.sha256 else None
