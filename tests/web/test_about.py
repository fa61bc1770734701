import pytest

from tests.e2e.signing_in import words
from tests.web.site import URL, Site


def test_the_page_says_how_to_sign_in(site: Site) -> None:
    page = site.get("/")
    assert page.status_code == 200 and "form-action 'self'" in page.headers["content-security-policy"]
    assert "type /login" in words(page) and f"extproc login --gateway {URL}" in words(page)


def test_the_protocol_names_what_is_served(site: Site) -> None:
    answer = site.get("/protocol")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    for request in ("POST /oauth/token", "POST /v1/logs", "POST /v1/messages", "POST /v1/responses", "GET /v1/models"):
        assert f"| `{request}` |" in answer.text
    assert "/managed/settings" not in answer.text, "which is not configured"
    assert "good for 3600 seconds" in answer.text and answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/protocol"])
def test_nothing_but_get(site: Site, path: str) -> None:
    assert site.post(path, {}).status_code in {405, 413}
