"""bench/imports.py says of a graph what it says it does."""

from bench.imports import inside, is_table, longest_chain, with_one_importer

GRAPH = {
    "a": frozenset({"b", "c"}),
    "b": frozenset({"c", "d"}),
    "c": frozenset({"e"}),
    "d": frozenset[str](),
    "e": frozenset[str](),
}


def test_the_longest_chain() -> None:
    assert longest_chain(GRAPH) == ("a", "b", "c", "e")
    assert longest_chain(GRAPH, "c") == ("c", "e")


def test_modules_with_one_importer() -> None:
    assert with_one_importer(GRAPH) == {"b": "a", "d": "b", "e": "c"}


def test_tables_are_commands_and_packages_of_dialects() -> None:
    assert is_table("extproc.cli.main")
    assert is_table("extproc.translate.dialects.chat")
    assert is_table("extproc.translate.dialects.registry")
    assert not is_table("extproc.translate.dialects.chat.read_answer")


def test_this_tree() -> None:
    found = inside()
    assert "extproc.errors" in found["extproc.translate.checked"]
    assert longest_chain(found)[0] in found
