"""Sites that the walks go through: the fixtures of the pages' own tests."""

from tests.app.web.conftest import site, still_site

__all__ = ["site", "still_site"]
