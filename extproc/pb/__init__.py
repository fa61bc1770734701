"""Envoy's external processing API: everything generated from protos/, under one name."""

from extproc.pb.core_pb2 import HeaderMap, HeaderValue, HeaderValueOption, Metadata
from extproc.pb.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    GrpcStatus,
    HeaderMutation,
    HeadersResponse,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
    StreamedBodyResponse,
    StreamedImmediateResponse,
    TrailersResponse,
)
from extproc.pb.http_status_pb2 import HttpStatus
from extproc.pb.processing_mode_pb2 import ProcessingMode

__all__ = [
    "BodyMutation",
    "BodyResponse",
    "CommonResponse",
    "GrpcStatus",
    "HeaderMap",
    "HeaderMutation",
    "HeaderValue",
    "HeaderValueOption",
    "HeadersResponse",
    "HttpBody",
    "HttpHeaders",
    "HttpStatus",
    "HttpTrailers",
    "ImmediateResponse",
    "Metadata",
    "ProcessingMode",
    "ProcessingRequest",
    "ProcessingResponse",
    "ProtocolConfiguration",
    "StreamedBodyResponse",
    "StreamedImmediateResponse",
    "TrailersResponse",
]
