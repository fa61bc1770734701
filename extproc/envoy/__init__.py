"""Renders Envoy's configuration from `gateway.yaml`."""
