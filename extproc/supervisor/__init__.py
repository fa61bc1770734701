"""Processes and files: starts Envoy and the workers, reloads, and watches both."""
