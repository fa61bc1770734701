"""Bytes of the dialects: codecs without behaviour."""
