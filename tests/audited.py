"""A record as it is after years, made in one go: what the searches of it are tried on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.access import Who
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from app.services import roles
from tests import plans
from tests.factories import Makes

# Of ten entries seven are the police's, one is another's and two are nobody's. One officer is one of 200, one resident
# one of 20,000; a sign-in is common, a role granted rare, an erasure rarer. Half have a ward, a third a kind of s.62.
_SEED = """
INSERT INTO areas (code, kind, name, parent_id, valid_from)
    SELECT 'E05' || (930000 + n), 'ward', 'Ward ' || n, :borough, '2022-05-05' FROM generate_series(1, 300) n;
INSERT INTO audit_entries (at, actor_kind, actor_id, organisation_id, area_code, subject, event, s62, why, origin, detail)
    SELECT CAST('2026-01-01' AS timestamptz) + n * interval '20 seconds',
        CASE WHEN n % 5 < 2 THEN 'staff' WHEN n % 5 = 2 THEN 'resident' WHEN n % 1000 = 3 THEN 'operator' ELSE 'system' END,
        CASE WHEN n % 5 < 2 THEN md5('officer' || n % 200)::uuid::text WHEN n % 5 = 2 THEN (n % 20000)::text END,
        CASE WHEN n % 10 < 7 THEN CAST(:police AS uuid) WHEN n % 10 = 7 THEN CAST(:other AS uuid) END,
        CASE WHEN n % 2 = 0 THEN 'E05' || (930001 + n % 300) END,
        CASE n % 4 WHEN 0 THEN 'staff:' || md5('officer' || n % 200)::uuid WHEN 1 THEN 'alert:' || md5('a' || n % 5000)::uuid
            WHEN 2 THEN 'contact:' || n % 20000
            ELSE CASE WHEN n % 400 = 3 THEN 'table:receipts' ELSE 'key:' || n % 3000 END END,
        CASE WHEN n % 4 = 0 THEN 'staff:sign-in' WHEN n % 4 = 1 THEN 'alert:alter' WHEN n % 10007 = 3 THEN 'role:grant'
            WHEN n % 40009 = 6 THEN 'contact:erase' WHEN n % 4 = 2 THEN 'contact:consult' ELSE 'ledger:purge' END,
        CASE WHEN n % 40009 = 6 THEN 'erasure' WHEN n % 3 = 0 THEN 'consultation' END,
        'A reason that somebody gave.', '198.51.100.0/24', '{}'
    FROM generate_series(1, :many) n;
"""


@dataclass
class Years:
    """The record's session, and who looks into it."""

    session: Session
    police: Organisation
    officer: UUID  # one of those who acted
    contact: int
    alert: UUID
    everywhere: Who
    borough: Who  # on one borough of 300 wards
    ward: Who
    area: Area
    large: frozenset[str]


def auditor(makes: Makes, organisation: Organisation, place: roles.Place = roles.EVERYWHERE) -> Staff:
    """Somebody who may search the record there."""
    return makes.officer(organisation, role=Role.AUDITOR, place=place)


def years(session: Session, many: int) -> Years:
    """A record of ``many`` entries."""
    makes = Makes(session)
    police, other = makes.organisation(), makes.organisation("Another")
    borough, _, _ = makes.borough()
    values = {"borough": borough.id, "many": many, "police": police.id, "other": other.id}
    plans.run_all(session, _SEED, values)
    # These alone: to analyse the cluster's own tables as well would wait for whoever else does.
    session.execute(sa.text("ANALYZE audit_entries, areas"))
    large = frozenset({"audit_entries"})
    first = session.scalars(sa.select(Area).where(Area.code == "E05930001")).one()
    officer = session.scalar(sa.text("SELECT CAST(md5('officer5') AS uuid)"))
    alert = session.scalar(sa.text("SELECT CAST(md5('a5') AS uuid)"))
    assert isinstance(officer, UUID) and isinstance(alert, UUID)
    return Years(
        session,
        police,
        officer,
        14,
        alert,
        makes.who(auditor(makes, police)),
        makes.who(auditor(makes, police, roles.Place(area_id=borough.id))),
        makes.who(auditor(makes, police, roles.Place(area_id=first.id))),
        first,
        large,
    )
