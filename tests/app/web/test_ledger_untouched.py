"""A send to a million slows nobody else's page: pages read counters, and never walk through the ledger.

Every page of the site is asked for, filled. Those that are looked at while something is being sent do not name the
deliveries at all; where an answer to one person does, PostgreSQL goes to that person's rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.models.ledger import Dispatch
from app.services.ledger import months
from app.web.guards import Guard, guard_of
from config.fields import Part
from tests import plans
from tests.app.web.conftest import Site, open_site
from tests.conftest import Database
from tests.factories import Makes
from tests.populated import Populated, populate

DELIVERIES = 60_000


@dataclass
class Filled:
    site: Site
    there: Populated
    statements: list[tuple[str, object]]

    def ask(self, endpoint: str, path: str) -> int:
        """One GET by whoever may ask."""
        guard = guard_of(self.site.client.application, endpoint)
        self.site.client.delete_cookie("__Host-wardlink")
        if guard is Guard.STAFF:
            self.site.enter(staff=self.there.staff(self.site.registry))
        elif guard is Guard.RESIDENT:
            self.site.enter(contact_id=self.there.contact_id)
        self.statements.clear()
        return self.site.client.get(path).status_code


@pytest.fixture
def filled(committed: Database) -> Iterator[Filled]:
    site = open_site(committed)
    with site.registry.sessions.begin() as session:
        there = populate(Makes(session), site.registry)
    admin = sa.create_engine(committed.admin.replace("postgresql://", "postgresql+psycopg://"))
    with admin.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status, provider_ref) "
                "SELECT d.id, n, 99, 1, 1, 30, 'SM' || n FROM generate_series(1, :many) n, "
                "(SELECT id FROM dispatches ORDER BY id LIMIT 1) d"
            ),
            {"many": DELIVERIES},
        )
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    admin.dispose()
    noted: list[tuple[str, object]] = []
    sa.event.listen(
        site.registry.engine,
        "before_cursor_execute",
        lambda _c, _cursor, sql, values, *_: noted.append((sql, values)),
    )
    yield Filled(site, there, noted)
    site.registry.engine.dispose()


def test_no_page_reads_the_ledger(filled: Filled) -> None:
    asked = 0
    for endpoint, paths in filled.there.paths.items():
        for path in paths:
            status = filled.ask(endpoint, path)
            # One page is only for whoever came by their organisation's provider.
            assert status < 500 and (status != 404 or endpoint == "oidc.again"), (path, status)
            asked += len(filled.statements)
            assert not [sql for sql, _ in filled.statements if "deliveries" in sql.lower()], path
    assert asked > 100


def test_what_is_asked_of_one_dispatch_goes_to_its_month_alone(filled: Filled, committed: Database) -> None:
    """An answer by text leaves from the number that the alert came from: a page's one look into the ledger."""
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        months.make(session, 14)
    worker.engine.dispose()
    with filled.site.registry.sessions() as session:
        sent = session.scalar(sa.select(sa.func.max(sa.cast(Dispatch.id, sa.Text))))
        plan = session.execute(
            sa.text(
                "EXPLAIN (FORMAT JSON) SELECT s.id FROM senders s JOIN batches b ON b.sender_id = s.id "
                "JOIN deliveries d ON d.dispatch_id = b.dispatch_id AND d.batch_n = b.n "
                "WHERE d.dispatch_id = CAST(:sent AS uuid) AND d.contact_id = 7 LIMIT 1"
            ),
            {"sent": sent},
        ).scalar_one()
        parts = {p.name for p in months.partitions(session)}
    touched = {node.get("Relation Name") for node in plans.nodes(plan)} & parts
    assert len(parts) == 16
    assert touched == {f"deliveries_{utc_now():%Y%m}"}
