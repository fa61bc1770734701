from tests.translate.asking import ask, body


def test_equal_requests_are_equal() -> None:
    assert ask(body()) == ask(body())
