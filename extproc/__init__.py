"""An Envoy external processor that puts identity, policy and translation before language models."""
