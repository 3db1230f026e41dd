"""What the holder of an address may change on the page of their own alerts: topics, where they live, or all of it.

A topic that is stopped nowhere else becomes a suppression as well: what is being sent at this moment looks there
before each window (app.services.ledger.claims), and not at subscriptions, which only say who is asked next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Invalid, Missing
from app.models.alerts import TOPICS
from app.models.consent import Consent
from app.models.people import ContactPoint, Subscription
from app.services import areas, consent, people, processing, sessions, team_entries

__all__ = ["TOPIC_WORDS", "Mine", "leave_all", "mine", "move", "set_topics", "the_place"]

MOST_PLACES = 50
_PAGE = "own page"

# As residents read them: topic → label, hint.
TOPIC_WORDS: Mapping[str, tuple[str, str]] = {
    "incidents and appeals": (
        "Crime near you, and requests for help",
        "What happened, and whether you saw or heard anything",
    ),
    "missing people": ("Missing people", "When somebody is missing and you may have seen them"),
    "prevention": ("Advice to prevent crime", "How to protect your home, your bike and your money"),
    "events": ("Events and meetings", "When you can meet your local team"),
    "outcomes": ("What happened next", "What came of crimes and problems that we told you about"),
}


@dataclass(frozen=True, slots=True)
class Mine:
    """One place of a contact point, with its topics. ``held``: why nothing reaches the address now, or empty:
    stop, provider, bounce or complaint.
    """

    place: UUID
    postcode: str
    ward: str
    ward_code: str
    borough: str
    controller: UUID
    controller_name: str
    topics: tuple[str, ...]
    held: str


_MINE = sa.text(
    f"""
    SELECT p.id, p.postcode, w.name, w.code, b.name, o.id, o.name, array_agg(s.topic),
        (SELECT x.reason FROM suppressions x
         WHERE x.digest = c.digest AND x.channel = c.channel AND x.lifted_at IS NULL AND x.topic IS NULL
           AND (x.controller_id IS NULL OR x.controller_id = o.id)
         ORDER BY x.id LIMIT 1)
    FROM subscriptions s
    JOIN contact_points c ON c.id = s.contact_id
    JOIN consents k ON k.contact_id = c.id AND k.controller_id = s.controller_id AND k.purpose = 'alerts'
        AND k.withdrawn_at IS NULL
    JOIN places p ON p.id = s.place_id
    JOIN organisations o ON o.id = s.controller_id
    LEFT JOIN LATERAL (
        SELECT a.name, a.code, a.parent_id FROM place_areas pa JOIN areas a ON a.id = pa.area_id
        WHERE pa.place_id = p.id AND pa.valid_to IS NULL ORDER BY (a.kind <> 'ward'), a.id LIMIT 1
    ) w ON true
    LEFT JOIN areas b ON b.id = w.parent_id
    WHERE s.contact_id = :contact AND s.ended_at IS NULL
      AND (CAST(:place AS uuid) IS NULL OR p.id = CAST(:place AS uuid))
    GROUP BY p.id, p.postcode, w.name, w.code, b.name, o.id, o.name, c.digest, c.channel
    ORDER BY p.created_at, p.id LIMIT {MOST_PLACES}
    """
)


def mine(session: Session, contact_id: int, place_id: UUID | None = None) -> list[Mine]:
    """The places of a contact point, the oldest first, with an organisation that it agreed to hear from."""
    return [_read(row) for row in session.execute(_MINE, {"contact": contact_id, "place": place_id})]


def _read(row: Sequence[Any]) -> Mine:
    place, postcode, ward, code, borough, controller, name, topics, held = row
    chosen = tuple(topic for topic in TOPICS if topic in topics)
    return Mine(
        place, postcode or "", ward or "", code or "", borough or "", controller, name, chosen, held or ""
    )


def the_place(session: Session, contact_id: int, place_id: UUID) -> Mine:
    """One of them; Missing when it is not theirs, or not theirs any more."""
    found = mine(session, contact_id, place_id)
    if not found:
        raise Missing("This place is not on your page.")
    return found[0]


def _locked(session: Session, contact_id: int) -> ContactPoint:
    """The contact point, so that two tabs change its subscriptions one after the other."""
    contact = session.get(ContactPoint, contact_id, with_for_update=True)
    if contact is None:
        raise Missing("This address is no longer here.")
    return contact


def set_topics(
    session: Session, contact_id: int, place_id: UUID, topics: Sequence[str], *, actor: audit.Actor
) -> None:
    """Let a place have these topics and no others; none of them ends the place. Missing or Invalid."""
    if set(topics) - set(TOPICS):
        raise Invalid("topics", "Choose from the topics on the page.")
    contact = _locked(session, contact_id)
    place = the_place(session, contact_id, place_id)
    added = [topic for topic in TOPICS if topic in topics and topic not in place.topics]
    ended = [topic for topic in place.topics if topic not in topics]
    session.add_all(
        Subscription(place_id=place.place, contact_id=contact_id, controller_id=place.controller, topic=topic)
        for topic in added
    )
    session.flush()
    consent.lift_topics(session, contact, place.controller, added)
    _end(session, contact_id, place_id, ended)
    _suppress_unwanted(session, contact, place.controller, ended)
    for event, changed in (("subscription:add", added), ("subscription:remove", ended)):
        if changed:
            _record(session, event, place, contact_id, actor, topics=len(changed))


def _end(session: Session, contact_id: int, place_id: UUID, topics: Sequence[str]) -> None:
    session.execute(
        sa.update(Subscription)
        .where(
            Subscription.contact_id == contact_id,
            Subscription.place_id == place_id,
            Subscription.topic.in_(topics),
            Subscription.ended_at.is_(None),
        )
        .values(ended_at=sa.func.now())
    )


def _suppress_unwanted(
    session: Session, contact: ContactPoint, controller: UUID, topics: Sequence[str]
) -> None:
    """Put topics out of reach that the contact point has at no place any more."""
    still = session.scalars(
        sa.select(Subscription.topic)
        .where(
            Subscription.contact_id == contact.id,
            Subscription.controller_id == controller,
            Subscription.topic.in_(topics),
            Subscription.ended_at.is_(None),
        )
        .distinct()
    ).all()
    for topic in topics:
        if topic not in still:
            consent.suppress(
                session,
                channel=contact.channel,
                digest=contact.digest,
                digest_key=contact.digest_key,
                controller=controller,
                reason="left",
                topic=topic,
            )


def move(session: Session, contact_id: int, place_id: UUID, postcode: str, *, actor: audit.Actor) -> UUID:
    """Take a place's topics to another postcode; the id of the place there.

    The old place ends, and stays as it was for the record. Moving to where one is changes nothing. Raises
    PostcodeError, Missing, or Invalid when the organisation does not look after the new ward.
    """
    ward = areas.find_ward(session, postcode)
    contact = _locked(session, contact_id)
    place = the_place(session, contact_id, place_id)
    if ward.postcode == place.postcode:
        return place_id
    if place.controller not in {one for one, _ in team_entries.controllers_of_ward(session, ward.area_id)}:
        raise Invalid(
            "postcode",
            f"{place.controller_name} does not send alerts about {ward.postcode}. Sign up for the new postcode "
            "first, then remove this place.",
        )
    # Under the consent that stands: nobody was shown anything to agree to, and a no to other things stays a no.
    new = people.settle(session, contact, place.controller, ward, place.topics)
    _end(session, contact_id, place_id, place.topics)
    audit.record(
        session,
        event="place:alter",
        subject=f"place:{place_id}",
        actor=actor,
        organisation=place.controller,
        area=ward.code,
        s62=processing.s62(session, place.controller, audit.S62.ALTERATION),
        detail={"now": new.id},
    )
    return new.id


def leave_all(session: Session, contact_id: int, *, actor: audit.Actor) -> None:
    """End everything with every organisation, and every session of the address. Twice is once."""
    _locked(session, contact_id)
    controllers = session.scalars(
        sa.select(Consent.controller_id)
        .where(
            Consent.contact_id == contact_id,
            Consent.withdrawn_at.is_(None),
            Consent.purpose == consent.ALERTS,
        )
        .union(
            sa.select(Subscription.controller_id).where(
                Subscription.contact_id == contact_id, Subscription.ended_at.is_(None)
            )
        )
    ).all()
    for controller in sorted(controllers):
        consent.leave(session, contact_id, controller, how=_PAGE, actor=actor)
    session.execute(
        sa.update(Subscription)
        .where(Subscription.contact_id == contact_id, Subscription.ended_at.is_(None))
        .values(ended_at=sa.func.now())
    )
    sessions.end_all(session, contact_id=contact_id)


def _record(
    session: Session, event: str, place: Mine, contact_id: int, actor: audit.Actor, **detail: int
) -> None:
    kind = audit.S62.COLLECTION if event == "subscription:add" else audit.S62.ALTERATION
    audit.record(
        session,
        event=event,
        subject=f"contact:{contact_id}",
        actor=actor,
        organisation=place.controller,
        area=place.ward_code or None,
        s62=processing.s62(session, place.controller, kind),
        detail=detail,
    )
