"""What a call costs: CPU of the processor and of Envoy, start time, memory. `make bench`."""
