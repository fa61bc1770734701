"""HTTP/2 as a gRPC server needs it (https://www.rfc-editor.org/rfc/rfc9113): bytes in, events out; no socket.

The usual peer is our own Envoy; the limits hold against any other. A general library costs more per message than all
the rest of an exchange (`make bench`).
"""
