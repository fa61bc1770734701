"""Finds out who calls."""
