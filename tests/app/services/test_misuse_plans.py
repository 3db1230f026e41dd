"""With many reports, a page of them and what is purged are found by their indexes."""

from __future__ import annotations

import pytest

from app import crypto
from app.db import utc_now
from app.permissions import Role
from app.services import misuse, retention
from app.services.misuse import Cursor
from tests import ledger, plans
from tests.conftest import Database
from tests.factories import Makes

MANY = 20_000
_SEED = """
INSERT INTO misuse_reports (id, organisation_id, what_enc, happened_enc, barred, reported_on, closed_at, note_enc)
    SELECT gen_random_uuid(), :organisation, :sealed, :other, ARRAY[sha256(CAST(CAST(n AS text) AS bytea))],
        current_date - n / 20, CASE WHEN n % 2 = 0 THEN now() - n * interval '1 hour' END,
        CASE WHEN n % 2 = 0 THEN :sealed END
    FROM generate_series(1, :many) n
"""


@pytest.mark.slow
@pytest.mark.long
def test_many_reports_are_found_by_their_indexes(database: Database, registry: object) -> None:
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        reader = makes.officer(police, role=None)
        makes.role(reader, Role.AUDITOR)
        keys = crypto.keyring()
        values = {
            "many": MANY,
            "organisation": police.id,
            "sealed": keys.encrypt("x", "misuse.what"),
            "other": keys.encrypt("x", "misuse.happened"),
        }
        large = plans.filled(session, _SEED, values)
        assert "misuse_reports" in large
        who = makes.who(reader)
        with plans.noting(session) as noted:
            page = misuse.listed(session, who)
            assert len(page.lines) == misuse.PAGE
            again = misuse.listed(session, who, after=page.after)
            assert {one.id for one in again.lines}.isdisjoint({one.id for one in page.lines})
            misuse.listed(session, who, closed=True, after=Cursor(utc_now().date(), page.lines[0].id))
            dict(retention.PURGES)["misuse_reports"](session, now=utc_now(), most=10)
        asked = [(text, given) for text, given in noted if "misuse_reports" in text]
        assert len(asked) >= 4
        for text, given in asked:
            assert "misuse_reports" not in plans.scans(session, large, text, given), text
