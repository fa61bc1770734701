"""The servers that answer: providers, profiles, credentials."""
