"""With years of searches every rule, the draw, the lists and the figures follow an index."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import crypto
from app.db import utc_now
from app.permissions import Role
from app.registry import Registry
from app.services import retention
from app.services.register import drawing, findings, places, reviews, shown, unusual, watching, withholding
from app.services.register.shown import Cursor
from tests import ledger, plans
from tests.conftest import Database
from tests.factories import Makes

MANY = 200_000  # over two years, by 200 people of two organisations
MOST_SECONDS = 10.0
_SEED = """
INSERT INTO staff (id, organisation_id, email_enc, digest, digest_key, name_enc, state, password_hash)
    SELECT gen_random_uuid(), CASE WHEN n % 4 = 0 THEN CAST(:other AS uuid) ELSE CAST(:organisation AS uuid) END,
        CAST(:mail AS bytea), sha256(CAST(CAST(n AS text) AS bytea)), 1, CAST(:name AS bytea), 'active', 'x'
    FROM generate_series(1, 200) n;
INSERT INTO investigations (id, organisation_id, reference, opened_by, opened_at)
    SELECT gen_random_uuid(), s.organisation_id, 'C' || n || '/' || s.id, s.id, now() - n * interval '4 days'
    FROM staff s, generate_series(1, 180) n WHERE s.password_hash = 'x';
ANALYZE investigations;
INSERT INTO register_searches (id, entry_id, organisation_id, staff_id, investigation_id, purpose, reason_enc, kind, centre,
        radius, size, window_from, window_to, cells, number, saw, settled, opened_xid,
        opened_at)
    SELECT gen_random_uuid(), n, i.organisation_id, i.opened_by, i.id, 'investigation', CAST(:reason AS bytea), 'radius',
        point(505000 + n % 5000, 184000), 200, 0.1, now() - interval '1 hour', now(),
        ARRAY(SELECT (n * 7 + c) % 3000 FROM generate_series(1, 12) c), n, 0, true, '1',
        least(now(), i.opened_at + (n % 96) * interval '1 hour')
    FROM generate_series(1, :many) n
    JOIN (SELECT *, row_number() OVER (ORDER BY id) AS place FROM investigations) i ON i.place = 1 + n % 36000;
ANALYZE register_searches;
INSERT INTO camera_requests (id, search_id, investigation_id, organisation_id, staff_id, look_for_enc, window_from,
        window_to, asked_band, opened_at, expires_at)
    SELECT gen_random_uuid(), id, investigation_id, organisation_id, staff_id, CAST(:reason AS bytea), window_from,
        window_to, '3 to 5', opened_at, opened_at + interval '9 days' FROM register_searches WHERE number % 5 = 0;
INSERT INTO search_findings (id, organisation_id, rule, staff_id, searches, found_at, state, closed_at, note_enc)
    SELECT gen_random_uuid(), organisation_id, 'sweep', staff_id, ARRAY[id], opened_at, 'explained', opened_at,
        CAST(:note AS bytea) FROM register_searches WHERE number % 20 = 0;
INSERT INTO search_reviews (id, organisation_id, search_id, staff_id, month, assigned_at, due_at, verdict, note_enc,
        judged_at)
    SELECT gen_random_uuid(), organisation_id, id, staff_id, '2020-01-01', opened_at, opened_at + interval '28 days',
        CASE WHEN number % 300 <> 0 THEN 'proper' END, CASE WHEN number % 300 <> 0 THEN CAST(:verdict AS bytea) END,
        CASE WHEN number % 300 <> 0 THEN opened_at END FROM register_searches
    WHERE number % 10 = 0 AND opened_at < now() - interval '70 days';
INSERT INTO search_places (search_id, quarter, borough_code)
    SELECT id, date_trunc('quarter', opened_at), 'E09000017' FROM register_searches
    WHERE opened_at < now() - interval '1 day'
"""


@pytest.mark.slow
@pytest.mark.long
def test_years_of_searches_are_watched_by_their_indexes(committed: Database, app: Registry) -> None:
    now = utc_now()
    with ledger.by_anybody(committed) as session:
        makes = Makes(session)
        police, other = makes.organisation(), makes.organisation()
        police.competent_authority = True
        _, ward, _ = makes.borough()
        makes.postcode(ward, "UB8 1UW")
        auditor = makes.officer(police, role=None)
        makes.role(auditor, Role.AUDITOR)
        makes.role(auditor, Role.SUPERVISOR)
        keys = crypto.keyring()
        large = plans.filled(
            session,
            _SEED,
            {
                "many": MANY,
                "organisation": police.id,
                "other": other.id,
                "mail": keys.encrypt("x@police.example", "staff.email"),
                "name": keys.encrypt("PC One", "staff.name"),
                "reason": keys.encrypt("x", "register_searches.reason"),
                "note": keys.encrypt("x", "search_findings.note"),
                "verdict": keys.encrypt("x", "search_reviews.note"),
            },
        )
        watched = {
            "register_searches",
            "search_findings",
            "search_reviews",
            "search_places",
            "camera_requests",
        }
        assert watched <= large
        who = makes.who(auditor)
        one = session.execute(
            sa.text("SELECT id, investigation_id FROM register_searches WHERE organisation_id = :id LIMIT 1"),
            {"id": police.id},
        ).one()
        with plans.noting(session) as noted:
            began = time.monotonic()
            for rule in unusual.RULES:
                unusual.find(session, rule, police.id, now=now)
            watching.look(session, police.id, public_url="https://w.example", now=now)
            assert time.monotonic() - began < MOST_SECONDS
            assert set(watching.organisations(session)) == {police.id, other.id}
            assert drawing.draw(session, police.id, now=now) > 5
            drawing.remind(session, public_url="https://w.example", now=now)
            assert places.place(session, now=now) > 0
            for closed in (False, True):
                findings.listed(session, who, closed=closed, after=Cursor(now, one.id))
            for state in reviews.STATES:
                reviews.listed(session, who, state, now=now, after=Cursor(now - timedelta(days=9), one.id))
            assert shown.whole(session, one.id).line.id == one.id
            withholding.of_case(session, who, one.investigation_id)
            for name in ("search_findings", "search_reviews"):
                dict(retention.PURGES)[name](session, now=now, most=10)
        asked = [(text, given) for text, given in noted if any(name in text for name in watched)]
        asked = [one for one in asked if not isinstance(one[1], list)]  # rows of one INSERT
        assert len(asked) > 20
        for text, given in asked:
            assert not set(plans.scans(session, large, text, given)) & watched, text
