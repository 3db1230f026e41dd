"""A town on a grid: wards of a hundred metres by a hundred, each with four postcodes, and people in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import Pt
from app.models.areas import Area, Postcode, Release
from app.models.organisations import Organisation
from app.models.people import Place, PlaceArea, Subscription
from app.services.area_changes import application, plans, reversal
from app.services.area_changes.application import Outcome
from app.services.area_changes.steps import Step
from tests.factories import ACTOR, TOPIC, Makes

BEGAN = date(2022, 5, 5)
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
LATER = datetime(2026, 4, 1, 9, tzinfo=UTC)
EAST, NORTH, SIDE = 530_000, 180_000, 100


@dataclass
class Town:
    """A force, two BCUs, a borough in each, and wards from west to east: the first half lies in the first borough."""

    makes: Makes
    wards: list[Area] = field(default_factory=list)
    boroughs: list[Area] = field(default_factory=list)
    bcus: list[Area] = field(default_factory=list)
    police: Organisation = field(init=False)

    @property
    def session(self) -> Session:
        return self.makes.session

    def spot(self, nth: int, quarter: int = 0) -> Pt:
        """A place in the ``nth`` ward, in one of its quarters (0 to 3, from west to east)."""
        return Pt(EAST + SIDE * nth + 20 * quarter + 15, NORTH + 50)

    def postcode(self, nth: int, quarter: int = 0) -> str:
        return f"N{nth + 1} {quarter + 1}AA"

    def place(
        self, kind: str, nth: int, quarter: int = 0, *, postcode: str | None = None, ward: str | None = None
    ) -> UUID:
        """Somebody who lives there: by ``postcode``, by ``pin``, or who gave only the ``ward``."""
        area = self.area(ward or self.wards[nth].code)
        place = Place(
            controller_id=self.police.id,
            kind=kind,
            postcode=(postcode or self.postcode(nth, quarter)) if kind == "postcode" else None,
            at=self.spot(nth, quarter) if kind == "pin" else None,
        )
        self.session.add(place)
        self.session.flush()
        self.session.add(
            PlaceArea(place_id=place.id, area_id=area.id, release_id="test", valid_from=date(2026, 1, 1))
        )
        contact = self.makes.contact()
        self.session.add(
            Subscription(place_id=place.id, contact_id=contact.id, controller_id=self.police.id, topic=TOPIC)
        )
        self.session.flush()
        return place.id

    def area(self, code: str) -> Area:
        return self.session.scalars(sa.select(Area).where(Area.code == code, Area.valid_to.is_(None))).one()

    def where(self) -> dict[UUID, list[str]]:
        """The codes of the areas of each place, now."""
        rows = self.session.execute(
            sa.text(
                "SELECT p.id, array_agg(a.code ORDER BY a.code) FILTER (WHERE a.id IS NOT NULL) FROM places p "
                "LEFT JOIN place_areas pa ON pa.place_id = p.id AND pa.valid_to IS NULL "
                "LEFT JOIN areas a ON a.id = pa.area_id GROUP BY p.id"
            )
        )
        return {row[0]: row[1] or [] for row in rows}

    def plan(self, given: list[Step], **more: object) -> UUID:
        plan = plans.create(
            self.session,
            title="A change",
            applies_on=date(2026, 3, 1),
            given=given,
            actor=ACTOR,
            **more,  # type: ignore[arg-type]
        )
        return plan.id

    def apply(self, given: list[Step], *, now: datetime = NOW, **more: object) -> UUID:
        """Make a plan and apply it."""
        plan = self.plan(given, **more)
        plans.schedule(self.session, plan, actor=ACTOR)
        self.carry_out(plan, now=now)
        return plan

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A part of the test's own transaction that ends like one."""
        with self.session.begin_nested():
            yield self.session

    def carry_out(self, plan: UUID, *, now: datetime = NOW) -> Outcome:
        done = application.run(self.transaction, plan, actor=ACTOR, now=now)
        self.session.expire_all()
        return done

    def reverse(self, plan: UUID, *, now: datetime = LATER) -> None:
        reversal.reverse(self.session, plan, actor=ACTOR, now=now)
        self.session.expire_all()


def build(makes: Makes, wards: int = 4) -> Town:
    """The town, without anybody in it."""
    session = makes.session
    town = Town(makes)
    town.police = makes.organisation()
    if session.get(Release, "test") is None:
        session.add(
            Release(
                id="test",
                name="Test",
                published=date(2026, 1, 1),
                live_postcodes=0,
                loaded_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
    force = Area(code="FORCE:town", kind="force", name="Town Police", valid_from=BEGAN)
    session.add(force)
    session.flush()
    town.bcus = [
        Area(
            code=f"BCU:T{letter}", kind="bcu", name=f"Command {letter}", parent_id=force.id, valid_from=BEGAN
        )
        for letter in "AB"
    ]
    session.add_all(town.bcus)
    session.flush()
    town.boroughs = [
        Area(code=f"E0900090{n}", kind="borough", name=f"Borough {n}", parent_id=bcu.id, valid_from=BEGAN)
        for n, bcu in enumerate(town.bcus)
    ]
    session.add_all(town.boroughs)
    session.flush()
    for nth in range(wards):
        borough = town.boroughs[0 if nth < (wards + 1) // 2 else 1]
        ward = Area(
            code=f"E05000{nth:03d}", kind="ward", name=f"Ward {nth}", parent_id=borough.id, valid_from=BEGAN
        )
        session.add(ward)
        session.flush()
        town.wards.append(ward)
        session.add_all(
            Postcode(
                postcode=town.postcode(nth, quarter),
                at=town.spot(nth, quarter),
                ward_code=ward.code,
                quality=10,
                live=True,
                release_id="test",
            )
            for quarter in range(4)
        )
    session.flush()
    return town
