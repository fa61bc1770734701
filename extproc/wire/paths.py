"""A path as Envoy routes it: `normalize_path`, `merge_slashes`, and escaped slashes taken for slashes
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers, RFC 3986 section 6.2.2)."""

import re

_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~/\\-]")


def routed(target: str) -> str:
    """`target`: of a request, with its query if there is one."""
    path, mark, query = target.partition("?")
    kept: list[str] = []
    segments = _ESCAPED.sub(_unescaped, path).replace("\\", "/").split("/")
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    open_ended = segments[-1] in ("", ".", "..") and kept
    return "/" + "/".join(kept) + ("/" if open_ended else "") + mark + query


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0]
