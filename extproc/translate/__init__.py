"""Translators between dialects. Pure: no clock, socket or logger."""
