"""The gate by itself: what is held now, where it reaches, and what becomes of an id."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import access
from app.access import Held, Who
from app.db import new_id, utc_now
from app.errors import Missing
from app.models.access import RoleGrant
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.ledger import Dispatch
from app.permissions import GRANTABLE, TABLE, Permission, Role, Scope
from app.services import roles
from tests import ledger
from tests.factories import ACTOR, Makes

DRAFT = Permission.ALERT_DRAFT


def test_a_role_on_an_area_holds_in_all_below_it_and_nowhere_else(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    here, first, second = makes.borough()
    there, third, _ = makes.borough()
    bcu = Area(code="BCU:XX", kind="bcu", name="West", valid_from=date(2022, 1, 1))
    session.add(bcu)
    session.flush()
    here.parent_id = bcu.id
    session.flush()

    def may(place: roles.Place, *codes: str) -> bool:
        return access.inside(session, makes.who(makes.officer(police, place=place)), DRAFT, codes)

    of_ward, of_borough, of_bcu = (roles.Place(one.id) for one in (first, here, bcu))
    assert may(of_ward, first.code)
    assert not may(of_ward, second.code)
    assert not may(of_ward, here.code)
    assert not may(of_ward, first.code, second.code)
    assert may(of_borough, here.code, first.code, second.code)
    assert not may(of_borough, bcu.code)
    assert may(of_bcu, bcu.code, here.code, first.code)
    assert not may(of_bcu, third.code)
    assert may(roles.EVERYWHERE, bcu.code, there.code, third.code)
    assert not may(roles.EVERYWHERE, "E05999999")
    assert may(of_ward)


def test_two_roles_reach_as_far_as_both_but_each_only_for_what_it_lets_do(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    (here, *_), (there, *_) = makes.borough(), makes.borough()
    staff = makes.officer(police, place=roles.Place(here.id))
    makes.role(staff, Role.BOROUGH_ADMINISTRATOR, roles.Place(there.id))
    who = makes.who(staff)
    assert access.inside(session, who, DRAFT, [here.code])
    assert not access.inside(session, who, DRAFT, [there.code])
    assert access.inside(session, who, Permission.DISPATCH_HOLD, [here.code, there.code])
    assert access.inside(session, who, Permission.TEAM_MANAGE, [there.code])
    assert not access.inside(session, who, Permission.TEAM_MANAGE, [here.code])


def test_a_role_holds_from_its_first_moment_to_just_before_its_last(session: Session, makes: Makes) -> None:
    staff = makes.officer(makes.organisation(), role=None)
    now = utc_now()
    grant = roles.grant(
        session, staff, Role.OFFICER, by=None, actor=ACTOR, now=now, ends_at=now + timedelta(days=1)
    )
    moment = timedelta(microseconds=1)

    def holds(at: object) -> bool:
        return access.may(access.of(session, staff.id, now=at), DRAFT)  # type: ignore[arg-type]

    assert not holds(grant.starts_at - moment)
    assert holds(grant.starts_at)
    assert holds(grant.ends_at - moment)
    assert not holds(grant.ends_at)
    roles.take(session, grant.id, by=None, actor=ACTOR, now=now)
    assert not holds(grant.starts_at)


def test_nobody_is_there_who_is_not_active_or_whose_organisation_has_ended(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    staff = makes.officer(police)
    assert access.of(session, staff.id, now=utc_now()).roles() == {Role.OFFICER}
    police.ended_at = utc_now()
    session.flush()
    for id in (staff.id, new_id()):
        with pytest.raises(Missing):
            access.of(session, id, now=utc_now())


def test_what_is_not_there_and_what_may_not_be_seen_are_both_missing(session: Session, makes: Makes) -> None:
    police, others = makes.organisation(), makes.organisation()
    here, ward, _ = makes.borough()
    there, *_ = makes.borough()
    alert = makes.alert(police, [ward])
    refused = []
    for organisation, place, permission, id in (
        (police, roles.EVERYWHERE, DRAFT, new_id()),
        (others, roles.EVERYWHERE, DRAFT, alert.id),
        (police, roles.Place(there.id), DRAFT, alert.id),
        (police, roles.EVERYWHERE, Permission.ROLE_GRANT, alert.id),
    ):
        who = makes.who(makes.officer(organisation, place=place))
        with pytest.raises(Missing) as error:
            access.row(session, who, permission, Alert, id)
        refused.append(error.value.message)
    assert len(set(refused)) == 1
    who = makes.who(makes.officer(police, place=roles.Place(here.id)))
    assert access.row(session, who, DRAFT, Alert, alert.id, lock=True).id == alert.id
    elsewhere = makes.who(makes.officer(police, place=roles.Place(there.id)))
    assert access.row(session, elsewhere, Permission.ALERT_READ, Alert, alert.id).id == alert.id


def test_ones_own_account_is_ones_own_alone(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    one, other = makes.officer(police, role=None), makes.officer(police, role=Role.FORCE_ADMINISTRATOR)
    for who in (makes.who(one), makes.who(other)):
        assert access.may(who, Permission.ACCOUNT_MANAGE)
    assert access.may_on(session, makes.who(one), Permission.ACCOUNT_MANAGE, one)
    assert not access.may_on(session, makes.who(other), Permission.ACCOUNT_MANAGE, one)


def test_a_digest_of_many_alerts_is_nobodys_to_hold(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    sent = session.get_one(Dispatch, ledger.frozen(makes, 2, organisation=police))
    who = makes.who(makes.officer(police))
    assert access.may_on(session, who, Permission.DISPATCH_HOLD, sent)
    digest = Dispatch(controller_id=police.id, alert_id=None)  # never added
    assert not access.may_on(session, who, Permission.DISPATCH_HOLD, digest)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(list(Role)), max_size=4), st.sampled_from(list(Permission)))
def test_whoever_holds_no_role_of_a_rule_may_not(held: list[Role], permission: Permission) -> None:
    who = Who(new_id(), new_id(), None, "", False, tuple(Held(role) for role in held))
    rule = TABLE[permission]
    assert access.may(who, permission) == (rule.scope is Scope.OWN or bool(rule.roles & set(held)))
    where = access.reach(who, permission)
    assert where.everywhere == bool(rule.roles & set(held))


def test_the_table_has_a_row_for_every_permission_and_no_administrator_makes_a_higher_one() -> None:
    assert set(TABLE) == set(Permission)
    assert all(rule.words and rule.words[0].islower() for rule in TABLE.values())
    assert Role.FORCE_ADMINISTRATOR not in GRANTABLE[Role.BOROUGH_ADMINISTRATOR]
    assert Role.BOROUGH_ADMINISTRATOR not in GRANTABLE[Role.BOROUGH_ADMINISTRATOR]
    assert set(GRANTABLE) == set(TABLE[Permission.ROLE_GRANT].roles) == set(TABLE[Permission.ROLE_TAKE].roles)
    assert RoleGrant.__table__.c.ends_at.nullable is False
