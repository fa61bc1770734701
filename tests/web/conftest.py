from tests.web.administered import administered
from tests.web.site import site

__all__ = ["administered", "site"]
