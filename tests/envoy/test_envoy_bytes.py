"""What a real Envoy 1.40 said (tests/capture_envoy.py), read through our slice of its API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from extproc import pb
from tests.capture_envoy import MODES, RECORDED, capture

FILES = sorted(RECORDED.glob("*.bin"))
REQUEST = ["request_headers", "request_body"]
RESPONSE = ["response_headers", "response_body", "response_trailers"]
PHASES = {
    "buffered": [*REQUEST, "request_trailers", *RESPONSE],
    "full-duplex": [*REQUEST, "request_trailers", *RESPONSE],
    "overridden": [*REQUEST, *RESPONSE],
}
MODES_CONFIGURED = {
    "buffered": {"request_body_mode": "BUFFERED", "response_body_mode": "BUFFERED"},
    "full-duplex": {"request_body_mode": "BUFFERED", "response_body_mode": "FULL_DUPLEX_STREAMED"},
    "overridden": {"request_body_mode": "BUFFERED"},
}
NAMESPACE = "envoy.filters.http.ext_proc"


def names() -> list[str]:
    return [f"{case}-{number}-{kind}.bin" for case, kinds in PHASES.items() for number, kind in enumerate(kinds)]


def read(case: str, kind: str) -> pb.ProcessingRequest:
    [path] = RECORDED.glob(f"{case}-?-{kind}.bin")
    return pb.ProcessingRequest.FromString(path.read_bytes())


def headers(found: pb.HeaderMap) -> dict[str, bytes]:
    return {header.key: header.raw_value for header in found.headers}


def unknown(message: Message) -> Iterator[str]:
    found = UnknownFieldSet(message)
    yield from (f"{message.DESCRIPTOR.full_name}: {found[index].field_number}" for index in range(len(found)))
    for field, value in message.ListFields():
        if field.message_type and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else [value]:
                yield from unknown(inner)


def test_all_phases_are_there() -> None:
    assert [path.name for path in FILES] == sorted(names())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_unknown(path: Path) -> None:
    message = pb.ProcessingRequest.FromString(path.read_bytes())
    assert not list(unknown(message))
    assert pb.ProcessingRequest.FromString(message.SerializeToString()) == message


def test_an_unknown_field_is_found() -> None:
    body = pb.HttpBody.FromString(b"\x0a\x01x\x18\x01")
    assert list(unknown(pb.ProcessingRequest(request_body=body))) == ["envoy.service.ext_proc.v3.HttpBody: 3"]


@pytest.mark.parametrize("case", MODES)
def test_request_headers(case: str) -> None:
    message = read(case, "request_headers")
    found = headers(message.request_headers.headers)
    assert found[":method"] == b"POST"
    assert found[":path"] == b"/v1/messages?beta=true"
    assert found[":authority"] == b"gateway.test"
    assert found["x-api-key"] == b"caller"
    assert not message.request_headers.end_of_stream
    assert not message.observability_mode
    assert _dict(message.protocol_config) == MODES_CONFIGURED[case]
    attributes = {"request.method": "POST", "request.path": "/v1/messages?beta=true", "xds.route_name": "the-route"}
    assert _dict(message.attributes[NAMESPACE]) == attributes


@pytest.mark.parametrize("case", MODES)
def test_a_body_that_trailers_follow_is_not_the_end(case: str) -> None:
    assert read(case, "request_body").request_body == pb.HttpBody(body=b'{"a":1}')
    assert read(case, "response_body").response_body == pb.HttpBody(body=b"data: {}\n\n")


@pytest.mark.parametrize("case", MODES)
def test_response_headers(case: str) -> None:
    message = read(case, "response_headers")
    found = headers(message.response_headers.headers)
    assert found[":status"] == b"200"
    assert found["content-type"] == b"text/event-stream"
    assert _dict(message.attributes[NAMESPACE]) == {"response.code": 200}
    assert not message.HasField("protocol_config")


@pytest.mark.parametrize("case", MODES)
def test_response_trailers(case: str) -> None:
    assert headers(read(case, "response_trailers").response_trailers.trailers) == {"x-end": b"1"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_metadata_of_an_earlier_filter(path: Path) -> None:
    message = pb.ProcessingRequest.FromString(path.read_bytes())
    lab = {"text": "a", "number": 1.5, "list": [True, None]}
    assert _dict(message.metadata_context) == {"filter_metadata": {"lab": lab}}


def test_the_envoy_installed_says_the_same(tmp_path: Path) -> None:
    capture(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names())
    for path in tmp_path.iterdir():
        fresh, recorded = (
            pb.ProcessingRequest.FromString((at / path.name).read_bytes()) for at in (tmp_path, RECORDED)
        )
        assert not list(unknown(fresh))
        assert _steady(fresh) == _steady(recorded)


def _steady(message: pb.ProcessingRequest) -> dict[str, Any]:
    """Without what differs from call to call."""
    for found in (message.request_headers.headers.headers, message.response_headers.headers.headers):
        for header in found:
            if header.key in {"x-request-id", "x-envoy-upstream-service-time"}:
                header.raw_value = b""
    return _dict(message)


def _dict(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)
