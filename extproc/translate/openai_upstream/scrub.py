"""Takes out of a provider's message what must not travel: keys and addresses."""

import re

MAX_CHARS = 4096

_KEY = re.compile(
    r"\b(?:(?:sk|pk|rk|xai|nvapi|csk|pplx)-|(?:gsk|hf|fw|r8)_|AIza)[A-Za-z0-9_*.-]{3,}|\bBearer +[^\s\"']+"
    r"|\b[0-9a-f]{32,}\b|(?:(?<=key[:=])|(?<=key[:=] ))[A-Za-z0-9_.~+/-]{16,}=*",
    re.IGNORECASE,
)
_URL = re.compile(r"\b(?:https?|wss?|grpc)://[^\s\"'<>)\]}]+", re.IGNORECASE)
_HOST = re.compile(
    r"\b(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:com|net|org|ai|io|dev|cloud|app|local|internal|svc|lan|corp|cn|eu)"
    r"(?:\.[a-z]{2,})?(?::\d+)?(?:/[^\s\"'<>)\]}]*)?(?![a-z0-9_-])",
    re.IGNORECASE,
)
# Of hosts of any kind what can be told from other words: a port behind it, or a version in its path.
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\blocalhost(?::\d+)?\b|\[[0-9a-f]*:[0-9a-f:.]*\](?::\d+)?"
    r"|(?<![\w.-])(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+|/v\d[^\s\"'<>)\]}]*)"
    r"|(?<![\w.-])(?=[a-z0-9]*[-0-9])[a-z][a-z0-9-]*:\d{4,5}\b",
    re.IGNORECASE,
)


def scrubbed(message: str) -> str:
    return hidden(message[: 2 * MAX_CHARS]).strip()[:MAX_CHARS]


def hidden(text: str) -> str:
    text = _KEY.sub("[key]", text)
    for pattern in (_URL, _HOST, _ADDRESS):
        text = pattern.sub("[address]", text)
    return text
