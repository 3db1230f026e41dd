"""A site whose pages all act inside one transaction of the test's, which is taken back: quick, for many small tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from app.factory import create_app
from app.registry import Registry
from tests.app.web.conftest import PUBLIC_URL, Site
from tests.conftest import Database

# Providers on this machine, so that addresses of nobody are taken; none of them is called.
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Stage:
    """One app for a module of tests, and what its sessions are bound to."""

    app_registry: Registry
    inside: sessionmaker[Session]
    site: Site

    @contextmanager
    def play(self) -> Iterator[Site]:
        """The site, in a transaction that is taken back; without a cookie of the test before."""
        with self.app_registry.engine.connect() as connection:
            outer = connection.begin()
            self.inside.configure(bind=connection)
            yield Site(self.site.client.application.test_client(), self.site.registry)
            outer.rollback()


def stage(database: Database) -> Stage:
    """Opened once; its engine is the caller's to dispose of."""
    opened = database.open(PUBLIC_URL=PUBLIC_URL, TWILIO_BASE_URL=NOWHERE, SENDGRID_BASE_URL=NOWHERE)
    inside = sessionmaker(join_transaction_mode="create_savepoint", expire_on_commit=False)
    registry = dataclasses.replace(opened, sessions=inside)
    return Stage(opened, inside, Site(create_app(registry).test_client(), registry))
