"""A search of the web where the upstream has none: a sentence for the model that wanted it.

Claude Code's WebSearch sends a request that asks for nothing but a search, and hands the answer on to its model. A
refusal would reach the model as the text of an API error, and an upstream without the tool would make results up.
"""

from extproc.translate.want import Json

NOT_AVAILABLE = (
    "web search is not available here; use another tool to reach the web, such as WebFetch or Bash, or say that you "
    "could not search"
)
_ASKS = "Perform a web search for the query:"


def is_only_a_search(body: Json) -> bool:
    """Whether the one thing that the client wants of the model is a search."""
    messages = body.get("messages")
    content = messages[0].get("content") if isinstance(messages, list) and len(messages) == 1 else None
    blocks = [{"text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or len(blocks) != 1:
        return False
    return str(blocks[0].get("text", "")).startswith(_ASKS)
