"""The queries of administrators' pages and of reminders use their indexes where tens of thousands of staff are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.db import utc_now
from app.permissions import Role
from app.registry import Registry
from app.services import reminders, roles, staff, staff_list
from app.services.roles import Place
from app.services.staff_list import Filter
from tests import ledger, plans
from tests.conftest import Database
from tests.factories import ACTOR, Makes

# Another organisation of 20,000, each with a role that runs and two that were.
_SEED = """
INSERT INTO staff (id, organisation_id, email_enc, digest, digest_key, name_enc, password_hash, state)
    SELECT md5('staff' || n)::uuid, :other, 'x', decode(md5('staff' || n), 'hex'), 1, 'x', 'x', 'active'
    FROM generate_series(1, 20000) n;
INSERT INTO role_grants (id, staff_id, organisation_id, role, starts_at, ends_at, given_by)
    SELECT md5('grant' || n)::uuid, md5('staff' || n)::uuid, :other, 'officer', now() - interval '1 year',
        now() + interval '1 year', 'operator' FROM generate_series(1, 20000) n;
INSERT INTO role_grants (id, staff_id, organisation_id, role, starts_at, ends_at, given_by, taken_at, taken_by)
    SELECT md5('old' || n || '.' || m)::uuid, md5('staff' || n)::uuid, :other, 'approver', now() - interval '2 years',
        now() - interval '1 year', 'operator', now() - interval '1 year', 'term'
    FROM generate_series(1, 20000) n, generate_series(1, 2) m;
"""


@pytest.mark.slow
@pytest.mark.long
def test_no_list_of_people_or_reminder_reads_all_staff(database: Database, registry: Registry) -> None:
    now = utc_now()
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        borough, *_ = makes.borough()
        team = makes.team(police, [borough])
        chief = makes.officer(police, role=Role.FORCE_ADMINISTRATOR)
        person = makes.officer(police, team, role=None)
        roles.grant(
            session, person, Role.OFFICER, Place(team_id=team.id), by=None, actor=ACTOR, now=now - timedelta(days=90),
            ends_at=now + timedelta(days=20),
        )  # fmt: skip
        who = makes.who(chief)
        large = plans.filled(session, _SEED, {"other": makes.organisation("Another").id})
        assert {"staff", "role_grants"} <= large
        with plans.noting(session) as noted:
            for wanted in (Filter(), Filter(soon=True), Filter(role=Role.OFFICER), Filter(area=borough.code)):
                assert staff_list.people(session, who, wanted, now=now)[0]
            assert staff_list.person(session, who, person.id, now=now).past
            assert staff_list.by_email(session, who, person.email) == person.id
            assert roles.ending(session, police.id, now=now)
            assert reminders.tell(session, public_url="https://w.example", now=now) == 1
            staff.cut_off(session, who, person.id, actor=ACTOR, now=now)
        read = {
            (statement, name)
            for statement, parameters in noted
            if statement.lstrip().startswith(("SELECT", "WITH", "INSERT INTO reminders"))
            for name in plans.scans(session, large, statement, parameters)
        }
        assert not read
