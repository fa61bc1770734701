from extproc.events import Headers

FIELDS = [(":method", "POST"), ("a", "1"), ("b", "2"), ("a", "3")]


def test_headers_keep_order_and_repetition() -> None:
    headers = Headers(FIELDS)
    assert list(headers) == FIELDS
    assert headers.all("a") == ["1", "3"]
    assert headers.all("c") == []
    assert headers.names() == {":method", "a", "b"}


def test_the_first_value_is_the_one_that_is_got_and_the_last_the_one_of_a_dict() -> None:
    headers = Headers(iter(FIELDS))
    assert (headers.get("a"), headers.get("c"), headers.get("c", "x")) == ("1", "", "x")
    assert headers.as_dict() == {":method": "POST", "a": "3", "b": "2"}


def test_nothing_is_nothing() -> None:
    assert not list(Headers())


def test_names_to_remove_are_all_but_those_that_stay() -> None:
    headers = Headers(
        [(":path", "/"), ("host", "h"), ("x-b", "1"), ("content-length", "3"), ("x-a", "2"), ("x-b", "4")]
    )
    assert headers.to_remove({"x-a"}) == ("content-length", "x-b")
    assert headers.to_remove({"x-a", "x-b", "content-length"}) == ()
