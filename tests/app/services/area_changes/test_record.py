"""What is done with plans is on the record, each step by its own event."""

from __future__ import annotations

import sqlalchemy as sa

from app.models.audit import AuditEntry
from app.services.area_changes import application, making, plans
from tests.app.services.area_changes.town import build
from tests.factories import ACTOR, Makes


def test_every_step_of_a_plan_is_on_the_record_by_counts_and_without_names(makes: Makes) -> None:
    town = build(makes)
    for quarter in range(3):
        town.place("postcode", 0, quarter)
    session, code = town.session, town.wards[0].code
    done = town.apply(making.recode(session, code, "E05000904"))
    town.reverse(done)
    (applied,) = session.scalars(sa.select(AuditEntry.detail).where(AuditEntry.event == "area:apply"))
    assert '"moved":3' in str(applied) and "Ward" not in str(applied)
    stopped, failed = (town.plan(making.rename(session, code, name)) for name in ("Stopped", "Failed"))
    plans.schedule(session, stopped, actor=ACTOR)
    plans.stop(session, stopped, actor=ACTOR)
    plans.schedule(session, failed, actor=ACTOR)
    application.fail(session, failed, "The postcodes changed meanwhile.", actor=ACTOR)
    found = session.execute(
        sa.select(AuditEntry.subject, AuditEntry.event)
        .where(AuditEntry.subject.like("area-plan:%"))
        .order_by(AuditEntry.id)
    ).all()
    begun = ["area:plan", "area:schedule"]
    assert [event for subject, event in found if subject == f"area-plan:{done}"] == [
        *begun, "area:apply", "area:reverse",
    ]  # fmt: skip
    assert [event for subject, event in found if subject == f"area-plan:{stopped}"] == [
        *begun,
        "area:stop",
    ]
    assert [event for subject, event in found if subject == f"area-plan:{failed}"] == [
        *begun,
        "area:fail",
    ]
