"""What the caller may do: rules in CEL."""
