from tests.web.site import site

__all__ = ["site"]
