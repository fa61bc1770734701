"""gateway.yaml, read and checked."""
