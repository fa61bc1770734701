"""Decides what the caller may do, by rules in CEL."""
