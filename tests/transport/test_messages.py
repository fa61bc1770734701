"""Events and actions against Envoy's messages; what real Envoys send is in test_envoy_bytes."""

from typing import Any

import pytest

from extproc import pb
from extproc.events import (
    Action,
    AnswerBody,
    AwaitBody,
    BeginAnswer,
    Event,
    Forward,
    Pass,
    PassAnswer,
    ReplaceBody,
    RequestBody,
    RequestHeaders,
    Respond,
    ResponseBody,
    ResponseHeaders,
)
from extproc.transport.messages import NAMESPACE, Unexpected, to_event, to_responses

FIELDS = {":method": "POST", "x-a": "1\xe4", ":status": "503"}
MODE = pb.ProcessingMode


def http_headers(*, end: bool = False, **more: str) -> pb.HttpHeaders:
    fields = [pb.HeaderValue(key=key, raw_value=value.encode("latin-1")) for key, value in (FIELDS | more).items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=fields), end_of_stream=end)


def details(text: str) -> pb.ProcessingRequest:
    request = pb.ProcessingRequest(response_headers=http_headers())
    request.attributes["envoy.filters.http.ext_proc"].fields["response.code_details"].string_value = text
    return request


def only(action: Action, request: pb.ProcessingRequest | None = None) -> pb.ProcessingResponse:
    [response] = to_responses([action], request)
    return response


def event_of(**members: Any) -> Event:
    return to_event(pb.ProcessingRequest(**members))


@pytest.mark.parametrize("end", [False, True])
def test_headers(end: bool) -> None:
    event = event_of(request_headers=http_headers(end=end))
    assert isinstance(event, RequestHeaders)
    assert (dict(event.headers), event.end) == (FIELDS, end)
    event = event_of(response_headers=http_headers(end=end))
    assert isinstance(event, ResponseHeaders)
    assert (event.status, dict(event.headers), event.end, event.details) == (503, FIELDS, end, "")


def test_the_peer() -> None:
    request = pb.ProcessingRequest(request_headers=http_headers())
    request.attributes["envoy.filters.http.ext_proc"].fields["source.address"].string_value = "10.0.0.7:4711"
    event = to_event(request)
    assert isinstance(event, RequestHeaders)
    assert event.source == "10.0.0.7:4711"
    other = event_of(request_headers=http_headers(source="10.0.0.7:4711"))
    assert isinstance(other, RequestHeaders)
    assert other.source == ""


def test_a_header_that_came_twice_stays_two() -> None:
    message = http_headers()
    message.headers.headers.add(key="x-a", raw_value=b"2")
    event = event_of(request_headers=message)
    assert isinstance(event, RequestHeaders)
    assert event.headers.all("x-a") == ["1\xe4", "2"]


def test_envoys_details() -> None:
    event = to_event(details("via_upstream"))
    assert isinstance(event, ResponseHeaders)
    assert event.details == "via_upstream"


def test_bodies() -> None:
    # With client trailers a whole body comes without the end of the stream; it is whole all the same.
    assert event_of(request_body=pb.HttpBody(body=b"x", end_of_stream=False)) == RequestBody(b"x")
    assert event_of(response_body=pb.HttpBody(body=b"x", end_of_stream=False)) == ResponseBody(b"x", end=False)
    assert event_of(response_body=pb.HttpBody(end_of_stream=True)) == ResponseBody(b"", end=True)
    assert event_of(response_trailers=pb.HttpTrailers()) == ResponseBody(b"", end=True)


@pytest.mark.parametrize("members", [{}, {"request_trailers": pb.HttpTrailers()}])
def test_what_envoy_is_not_configured_to_send(members: dict[str, Any]) -> None:
    with pytest.raises(Unexpected):
        event_of(**members)


def test_awaiting_the_body_says_how_the_answer_is_to_be_read() -> None:
    response = only(AwaitBody({}))
    assert response.WhichOneof("response") == "request_headers"
    mode = response.mode_override
    assert (mode.request_body_mode, mode.response_body_mode) == (MODE.BUFFERED, MODE.FULL_DUPLEX_STREAMED)
    assert (mode.response_header_mode, mode.response_trailer_mode) == (MODE.SEND, MODE.SEND)
    assert not response.HasField("dynamic_metadata")


def test_passing_on_reads_no_more_than_the_answers_headers() -> None:
    response = only(Pass({":path": "/x"}, ("cookie",), {}))
    common = response.request_headers.response
    mode = response.mode_override
    assert (mode.request_body_mode, mode.response_body_mode) == (MODE.NONE, MODE.NONE)
    assert mode.response_header_mode == MODE.SEND
    assert common.clear_route_cache
    assert list(common.header_mutation.remove_headers) == ["cookie"]
    assert not common.HasField("body_mutation")


@pytest.mark.parametrize("read_body", [False, True])
def test_an_answer_passes_on(read_body: bool) -> None:
    response = only(PassAnswer(("set-cookie",), {}, read_body))
    assert list(response.response_headers.response.header_mutation.remove_headers) == ["set-cookie"]
    assert response.HasField("mode_override") is read_body
    assert response.mode_override.response_body_mode == (MODE.BUFFERED if read_body else MODE.NONE)


def test_a_body_that_was_read_is_replaced() -> None:
    response = only(ReplaceBody(b"new", ("content-encoding",), {}, "application/json"))
    common = response.response_body.response
    assert common.body_mutation.body == b"new"
    assert list(common.header_mutation.remove_headers) == ["content-encoding"]
    [field] = common.header_mutation.set_headers
    assert (field.header.key, field.header.raw_value) == ("content-type", b"application/json")


def test_forwarding_looks_for_the_route_again() -> None:
    response = only(Forward({":path": "/x", "content-length": "2"}, ("cookie", "x-api-key"), b"{}", {}))
    common = response.request_body.response
    assert (common.clear_route_cache, common.body_mutation.body) == (True, b"{}")
    assert list(common.header_mutation.remove_headers) == ["cookie", "x-api-key"]
    assert [option.header.key for option in common.header_mutation.set_headers] == [":path", "content-length"]


def test_headers_are_raw_and_replace() -> None:
    response = only(BeginAnswer(502, {"x-a": "ä€\u2028"}, ("content-length",), {}))
    mutation = response.response_headers.response.header_mutation
    [status, other] = mutation.set_headers
    assert (status.header.key, status.header.raw_value, other.header.raw_value) == (":status", b"502", b"\xe4??")
    for option in (status, other):
        assert not option.HasField("append")
    assert list(mutation.remove_headers) == ["content-length"]


def test_responding() -> None:
    immediate = only(Respond(401, {"x-a": "1"}, b"no", {}, "token_expired")).immediate_response
    assert (immediate.status.code, immediate.body, immediate.details) == (401, b"no", "token_expired")
    assert [option.header.key for option in immediate.headers.set_headers] == ["x-a"]


@pytest.mark.parametrize("end", [False, True])
def test_pieces_of_the_answer(end: bool) -> None:
    piece = only(AnswerBody(b"x", end, {})).response_body.response.body_mutation.streamed_response
    assert (piece.body, piece.end_of_stream) == (b"x", end)


def test_trailers_end_the_body_themselves() -> None:
    request = pb.ProcessingRequest(response_trailers=pb.HttpTrailers())
    actions: list[Action] = [BeginAnswer(200, {}, (), {}), AnswerBody(b"x", True, {"ended": True})]
    begin, body, trailers = to_responses(actions, request)
    assert begin.HasField("response_headers")
    assert not body.response_body.response.body_mutation.streamed_response.end_of_stream
    assert trailers.HasField("response_trailers")
    [alone] = to_responses([], request)
    assert alone.HasField("response_trailers")


def test_nothing_to_do_is_no_reply() -> None:
    assert to_responses([], pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x"))) == []
    assert to_responses([], None) == []


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [("a", "string_value", "a"), (True, "bool_value", True), (False, "bool_value", False), (3, "number_value", 3.0),
     (0.5, "number_value", 0.5), ("", "string_value", "")],
)  # fmt: skip
def test_metadata_keeps_its_types(value: Any, kind: str, read: Any) -> None:
    for action in (AwaitBody({"k": value}), Forward({}, (), b"", {"k": value}), Respond(200, {}, b"", {"k": value})):
        metadata = only(action).dynamic_metadata
        assert list(metadata.fields) == [NAMESPACE]
        field = metadata.fields[NAMESPACE].struct_value.fields["k"]
        assert (field.WhichOneof("kind"), getattr(field, kind)) == (kind, read)
