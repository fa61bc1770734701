"""The end of every translation of a Messages request: what is sent, and what its answer will need."""

import msgspec

from extproc.translate.for_messages import fields, web_search
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.draft import Draft
from extproc.translate.for_messages.effort import show_thinking


def asked(draft: Draft, path: str, prefill: str) -> Asked:
    """`path`: upstream. `prefill`: what the answer may repeat."""
    out_of_reach = draft.searches_only and web_search.is_only_a_search(draft.body)
    return Asked(
        answer=web_search.NOT_AVAILABLE if out_of_reach else "",
        path=path,
        body=msgspec.json.encode(draft.upstream),
        stream=draft.body.get("stream") is True,
        model=draft.body["model"],
        warnings=draft.warnings.items,
        max_tokens=draft.upstream.get(draft.limit_member),
        profile=draft.profile,
        nonce=draft.target.nonce,
        original_names=draft.original_names,
        toolsets=draft.toolsets,
        stop_sequences=fields.stop_sequences(draft),
        show_thinking=show_thinking(draft),
        declares_tools="tools" in draft.upstream,
        prefill=prefill,
    )
