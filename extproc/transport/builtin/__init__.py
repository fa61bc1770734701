"""HTTP/2 as a gRPC server needs it (https://www.rfc-editor.org/rfc/rfc9113): bytes in, events out; no socket.

The usual peer is our own Envoy, but the limits hold for any peer. A general HTTP/2 library costs more CPU for each
message than the rest of a call together (`make bench`).
"""
