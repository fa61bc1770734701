"""A translated Responses request."""

from extproc.translate.on_messages import asked
from extproc.translate.pair import Json


class Asked(asked.Asked, frozen=True, kw_only=True):
    echo: Json
    """Members of the request that the answer repeats."""
    namespaces: dict[str, tuple[str, str]]
    """Tool name upstream -> the namespace and the name in it."""
    shell: str = ""
    """Name upstream of the client's own shell; empty: it has none."""
