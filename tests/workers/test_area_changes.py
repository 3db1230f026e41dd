"""What is due is applied by the worker, in its own rights; what fails is a draft again."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from app.db import utc_now
from app.models.area_changes import AreaPlan
from app.registry import Registry
from app.services import roles
from app.services.area_changes import making, plans
from app.services.area_changes.making import Named
from tests.app.services.area_changes.town import Town, build
from tests.factories import ACTOR, Makes
from workers import area_changes


def test_the_worker_applies_what_is_due_once_and_looks_after_who_was_on_the_way(
    app: Registry, worker: Registry
) -> None:
    today = utc_now().date()
    with app.sessions.begin() as session:
        town: Town = build(Makes(session))
        place = town.place("postcode", 0)
        town.makes.team(town.police, [town.wards[0]])
        town.makes.officer(town.police, place=roles.Place(area_id=town.wards[0].id))
        town.makes.alert(town.police, [town.wards[0]])
        session.execute(
            sa.text(
                "INSERT INTO group_roles (id, organisation_id, group_name, role, area_id) "
                "VALUES (gen_random_uuid(), :police, 'officers', 'officer', :area)"
            ),
            {"police": town.police.id, "area": town.wards[0].id},
        )
        old = town.wards[0]
        merged = making.merge(session, [w.code for w in town.wards[:2]], Named("E05000903", "Both"))
        named = making.rename(session, town.wards[2].code, "Another name")
        corners = [[530_000, 180_000], [530_000, 180_100], [530_100, 180_100]]
        drawn = {"do": "outline", "code": "PATCH:west", "parts": [corners], "holes": []}
        begun = {
            "do": "begin",
            "code": "PATCH:west",
            "kind": "patch",
            "name": "West",
            "parent": town.boroughs[0].code,
        }
        due = [
            plans.create(
                session, title="Due", applies_on=today - timedelta(days=1), given=given, actor=ACTOR
            ).id
            for given in (merged, [*named, begun, drawn])
        ]
        later = plans.create(
            session,
            title="Later",
            applies_on=today + timedelta(days=2),
            given=making.rename(session, town.wards[3].code, "Soon"),
            actor=ACTOR,
        ).id
        for plan in (*due, later):
            plans.schedule(session, plan, actor=ACTOR)
    assert area_changes.apply_due() == 2
    assert area_changes.apply_due() == 0
    with app.sessions.begin() as session:
        states = {one.id: one.state for one in session.scalars(sa.select(AreaPlan))}
        assert [states[plan] for plan in (*due, later)] == ["applied", "applied", "scheduled"]
        town.makes.session = session
        assert "E05000903" in town.where()[place]
        # Somebody whose sign-up began before, and ended after.
        late = town.place("postcode", 0, 1, ward="E05000903")
        session.execute(
            sa.text("UPDATE place_areas SET area_id = :old WHERE place_id = :place"),
            {"old": old.id, "place": late},
        )
    area_changes.apply_due()
    with app.sessions() as session:
        town.makes.session = session
        assert town.where()[late] == ["E05000903"]


def test_a_plan_that_does_not_fit_any_more_is_a_draft_again_and_holds_up_nobody(
    app: Registry, worker: Registry
) -> None:
    with app.sessions.begin() as session:
        town: Town = build(Makes(session))
        today = utc_now().date()
        both = [
            plans.create(
                session,
                title=title,
                applies_on=today,
                given=making.recode(session, town.wards[0].code, code),
                actor=ACTOR,
            ).id
            for title, code in (("First", "E05000904"), ("Second", "E05000905"))
        ]
        for plan in both:
            plans.schedule(session, plan, actor=ACTOR)
    assert area_changes.apply_due() == 1
    with app.sessions() as session:
        found = [session.get_one(AreaPlan, plan) for plan in both]
    assert [one.state for one in found] == ["applied", "draft"]
    assert "No area of today" in str(found[1].failed)
