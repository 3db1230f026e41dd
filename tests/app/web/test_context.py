"""Made-up addresses are only for a site whose providers are both the sandbox on this machine."""

from __future__ import annotations

import pytest

from app.web import context
from tests.app.web.conftest import open_site
from tests.conftest import Database

HERE, THERE = "http://127.0.0.1:8010", "https://api.provider.example"


@pytest.mark.parametrize(
    ("texts", "mail", "fictional"),
    [(HERE, HERE, True), (HERE, THERE, False), (THERE, HERE, False), (THERE, THERE, False)],
)
def test_one_real_provider_is_enough_to_refuse_them(
    database: Database, texts: str, mail: str, fictional: bool
) -> None:
    site = open_site(database, TWILIO_BASE_URL=texts, SENDGRID_BASE_URL=mail)
    with site.client.application.app_context():
        assert context.fictional() is fictional
    site.registry.engine.dispose()
