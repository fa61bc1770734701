"""What `extproc check` says about a configuration that is none the less valid."""

from urllib.parse import urlsplit

from extproc.config import Source

ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/messages", "/responses", "/models")


def warnings(source: Source) -> list[str]:
    """One a line, with file, line and key."""
    found = []
    for name, provider in source.config.providers.items():
        where = ("providers", name, "base_url")
        problem = _base_url(provider.base_url, only_messages=set(provider.dialects) == {"messages"})
        if problem:
            found.append(f"{source.place(where)}: {'.'.join(where)}: {problem}")
    return found


def _base_url(url: str, *, only_messages: bool) -> str:
    path = urlsplit(url).path
    endpoint = next((end for end in ENDPOINTS if path.endswith(end)), None)
    if endpoint is not None:
        return f"ends in an endpoint, and {endpoint} would be added once more; probably {url.removesuffix(endpoint)}"
    if not path and not only_messages:
        return f"most servers serve below /v1; probably {url}/v1"
    return ""
