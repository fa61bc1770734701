"""A translated Responses request."""

from extproc.translate.on_messages import asked


class Asked(asked.Asked, frozen=True, kw_only=True, tag="responses"):
    echo: dict[str, bytes]
    """Members of the request that the answer repeats, as JSON: they may be large, and nobody reads them here."""
    namespaces: dict[str, tuple[str, str]]
    """Tool name upstream -> the namespace and the name in it."""
    shell: str = ""
    """Name upstream of the client's own shell; empty: it has none."""
