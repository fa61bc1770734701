"""The gRPC side: the only place that knows protobuf, sockets and processes."""
