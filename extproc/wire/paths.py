"""A path as Envoy routes it: `normalize_path`, `merge_slashes`, and escaped slashes taken for slashes
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers, RFC 3986 section 6.2.2)."""

import re
from urllib.parse import quote, unquote_to_bytes

# Segments of characters that need no escape (RFC 3986 `pchar`), none of them beginning with a dot.
_CANONICAL = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?|/")
_UNESCAPED = "/!$&'()*+,;=:@~"
# `beta`: Anthropic's SDK; `api-version`: Azure.
_PARAMETER = re.compile(r"(beta|api-version)=[A-Za-z0-9._-]*")
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~/\\-]")


def canonical(path: str) -> str:
    """The one spelling that rules and routes see and the provider gets: nothing is escaped that a segment may hold,
    all else is, in upper case; no dot segments, no double slashes. Decoded once: `%2541` stays. `path`: without its
    query, its bytes as Latin-1."""
    if _CANONICAL.fullmatch(path):
        return path
    decoded = unquote_to_bytes(path.encode("latin-1", "replace"))
    return quote(_without_dots(decoded.decode("latin-1").replace("\\", "/")), safe=_UNESCAPED, encoding="latin-1")


def known_query(query: str) -> str:
    """Returns the part of a client's query that goes to a provider of its own dialect, with the `?`. Parameters that
    could name a model are left out."""
    kept = "&".join(part for part in query.split("&") if _PARAMETER.fullmatch(part))
    return f"?{kept}" if kept else ""


def routed(target: str) -> str:
    """Returns the path as Envoy routes it. `target`: of a request, with its query if there is one."""
    path, mark, query = target.partition("?")
    return _without_dots(_ESCAPED.sub(_unescaped, path).replace("\\", "/")) + mark + query


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment not in ("", ".", ".."):
            kept.append(segment)
        elif segment == ".." and kept:
            kept.pop()
    open_ended = segments[-1] in ("", ".", "..") and kept
    return "/" + "/".join(kept) + ("/" if open_ended else "")


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0]
