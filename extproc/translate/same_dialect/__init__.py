"""Clients of a provider of their own dialect."""
