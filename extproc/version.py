"""The version of what runs, as it was installed."""

from importlib import metadata


def version() -> str:
    try:
        return metadata.version("llm-extproc")
    except metadata.PackageNotFoundError:
        return "unknown"
