from extproc.translate.messages_on_chat.draft import ChatDraft
from tests.translate.asking import body, target


def test_names_of_the_history_are_remembered() -> None:
    draft = ChatDraft(body(), target(tool_name_max=20))
    short = draft.function_name("x" * 30)
    assert len(short) == 20
    assert draft.original_names == {short: "x" * 30}
    assert draft.function_name("zoom", "browser") == "browser__zoom"
    assert draft.toolsets == {"browser__zoom": ("browser", "zoom")}


def test_only_the_last_cache_hints_stay() -> None:
    draft = ChatDraft(body(), target(map_cache_control=True))
    parts = [draft.mark_cached({"n": n}, {"cache_control": {"type": "ephemeral"}}) for n in range(5)]
    draft.keep_last_breakpoints()
    assert ["prompt_cache_breakpoint" in part for part in parts] == [False, True, True, True, True]
    assert draft.mark_cached({}, {"cache_control": "x"}) == {}
