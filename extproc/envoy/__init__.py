"""From gateway.yaml to Envoy's configuration."""
