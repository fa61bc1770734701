"""The keys that tokens are checked with."""
