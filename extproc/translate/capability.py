"""What a refusal tells Claude Code to leave out, so that it goes on instead of ending the session.

The client (from 2.1.332) looks for the token in the message of an error: it compacts, or replaces the blocks by a note.
"""

from typing import Literal

Capability = Literal["prompt_too_long", "document_block", "image_block"]


def rejected(message: str, capability: Capability) -> str:
    """The message with its token."""
    token = f"capability_rejected: {capability}"
    return message if token in message else f"{message} ({token})"
