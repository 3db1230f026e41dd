"""Makers of what tests need, through the services wherever there is one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.db import Pt, utc_now
from app.models.access import RoleGrant
from app.models.alerts import Alert
from app.models.areas import Area, Postcode, Release
from app.models.organisations import Organisation, Sender
from app.models.people import ContactPoint, Place, PlaceArea, Subscription
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import Role
from app.services import (
    alerts,
    consent,
    organisations,
    passwords,
    people,
    published,
    roles,
    second_factor,
    staff,
    teams,
)
from messaging.types import Channel

ACTOR = audit.Actor(audit.ActorKind.OPERATOR, origin="test")
TOPIC = "incidents and appeals"
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Makes:
    """Everything is made in one session; the test commits or rolls back."""

    session: Session
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def organisation(self, name: str = "Test Police") -> Organisation:
        return organisations.create(
            self.session,
            slug=f"org-{next(self.numbers)}",
            name=name,
            kind="police",
            legal_basis="consent",
            actor=ACTOR,
        )

    def sender(
        self,
        organisation: Organisation,
        channel: str = "email",
        *,
        lane: str = "bulk",
        kind: str | None = None,
        rate: float = 1_000.0,
    ) -> Sender:
        n = next(self.numbers)
        address = f"alerts{n}@wardlink.example" if channel == "email" else f"+4477009001{n % 100:02d}"
        return organisations.add_sender(
            self.session,
            [organisation.id],
            channel=channel,
            provider="sendgrid" if channel == "email" else "twilio",
            address=address,
            display_name=organisation.name,
            kind=kind or ("email" if channel == "email" else "two-way"),
            lane=lane,
            segments_per_second=rate,
            actor=ACTOR,
        )

    def borough(self, wards: int = 2) -> list[Area]:
        """A borough with wards below it: [borough, ward, ward …], and a release they are decided by."""
        n = next(self.numbers)
        if self.session.get(Release, "test") is None:
            self.session.add(Release(id="test", name="Test", published=date(2026, 1, 1), live_postcodes=0))
        borough = Area(code=f"E0900{n:04d}", kind="borough", name=f"Borough {n}", valid_from=date(2022, 5, 5))
        self.session.add(borough)
        self.session.flush()
        below = [
            Area(
                code=f"E05{n:03d}{i:03d}",
                kind="ward",
                name=f"Ward {n}.{i}",
                parent_id=borough.id,
                valid_from=date(2022, 5, 5),
            )
            for i in range(wards)
        ]
        self.session.add_all(below)
        self.session.flush()
        return [borough, *below]

    def postcode(self, ward: Area, postcode: str) -> str:
        """A live postcode that leads to a ward."""
        self.session.add(
            Postcode(
                postcode=postcode,
                at=Pt(505_000, 184_000),
                ward_code=ward.code,
                quality=1,
                live=True,
                release_id="test",
            )
        )
        self.session.flush()
        return postcode

    def contact(
        self, address: str | None = None, channel: Channel = Channel.EMAIL, **changes: object
    ) -> ContactPoint:
        n = next(self.numbers)
        default = (
            f"person{n}@people.example" if channel is Channel.EMAIL else f"07700 {900000 + n % 1000:06d}"
        )
        read = people.read_address(channel, address or default, fictional=True)
        values: dict[str, object] = {"confirmed_at": START, "synthetic": True} | changes
        return people.add_contact(self.session, read, actor=ACTOR, **values)  # type: ignore[arg-type]

    def resident(
        self,
        organisation: Organisation,
        ward: Area,
        *,
        address: str | None = None,
        channel: Channel = Channel.EMAIL,
        topics: Sequence[str] = (TOPIC,),
        agreed: bool = True,
        **changes: object,
    ) -> ContactPoint:
        """A confirmed contact point with a place in a ward, its topics and (if agreed) consent."""
        contact = self.contact(address, channel, **changes)
        self.live_in(contact, organisation, ward, topics)
        if agreed:
            self.wording()
            consent.give(self.session, contact, organisation.id, how="test", actor=ACTOR)
        return contact

    def live_in(
        self, contact: ContactPoint, organisation: Organisation, ward: Area, topics: Sequence[str]
    ) -> None:
        place = Place(controller_id=organisation.id, kind="ward")
        self.session.add(place)
        self.session.flush()
        self.session.add(
            PlaceArea(place_id=place.id, area_id=ward.id, release_id="test", valid_from=date(2026, 1, 1))
        )
        self.session.flush()
        for topic in topics:
            self.session.add(
                Subscription(
                    place_id=place.id, contact_id=contact.id, controller_id=organisation.id, topic=topic
                )
            )
        self.session.flush()

    def wording(self) -> None:
        try:
            consent.current_wording(self.session)
        except consent.Missing:
            consent.add_wording(self.session, "I agree to get alerts.")

    def team(
        self, organisation: Organisation, areas: Sequence[Area], *, name: str | None = None, **changes: object
    ) -> Team:
        return teams.create(
            self.session,
            controller=organisation.id,
            name=name or f"Team {next(self.numbers)}",
            areas=[a.code for a in areas],
            actor=ACTOR,
            **changes,  # type: ignore[arg-type]
        )

    def officer(
        self,
        organisation: Organisation,
        team: Team | None = None,
        *,
        password: str | None = None,
        role: Role | None = Role.OFFICER,
        place: roles.Place | None = None,
    ) -> Staff:
        """Somebody who has enrolled, with one role (where their team works, unless a ``place`` is given).

        Without ``password`` nobody can sign in by one, and nothing is hashed.
        """
        read = staff.read_email(f"officer{next(self.numbers)}@police.example")
        made = Staff(
            organisation_id=organisation.id,
            team_id=team.id if team else None,
            email=read.as_sent,
            digest=staff.digest(read),
            digest_key=1,
            name="Sam Officer",
            password_hash=passwords.make(password) if password else "nothing",
            totp_secret=second_factor.new_secret(),
            state="active",
        )
        self.session.add(made)
        self.session.flush()
        if role is not None:
            self.role(made, role, place or roles.Place(team_id=made.team_id))
        return made

    def role(self, staff: Staff, role: Role, place: roles.Place = roles.EVERYWHERE) -> RoleGrant:
        """A role more, for a year."""
        return roles.grant(self.session, staff, role, place, by=None, actor=ACTOR, now=utc_now())

    def who(self, staff: Staff) -> Who:
        """Somebody with the roles they hold now, as the gate sees them."""
        return access.of(self.session, staff.id, now=utc_now())

    def published(
        self, organisation: Organisation, areas: Sequence[Area], *, at: datetime, **changes: object
    ) -> Alert:
        """An alert as it stands after it was sent, without anybody to send it to."""
        alert = self.alert(organisation, areas, **changes)
        alert.state = "sent"
        published.publish(self.session, alert, now=at)
        self.session.flush()
        return alert

    def alert(self, organisation: Organisation, areas: Sequence[Area], **changes: object) -> Alert:
        values: dict[str, object] = {
            "controller": UUID(str(organisation.id)),
            "kind": "alert",
            "urgency": "routine",
            "topic": TOPIC,
            "headline": "Bicycles stolen from front gardens",
            "body": "Three bicycles were taken on Monday night.\n\nPlease lock yours indoors.",
            "what_to_do": "Call 101 if you saw something.",
            "sms_text": "Bicycles stolen on Monday night. Lock yours indoors. Saw something? Call 101",
            "audience_expression": {"areas": [a.code for a in areas]},
            "channels": ["email"],
            "actor": ACTOR,
        }
        return alerts.draft(self.session, **(values | changes))  # type: ignore[arg-type]
