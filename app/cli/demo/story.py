"""Who lives in the demonstration and what happens there; and who should hear, worked out without SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Missing
from app.models.organisations import Organisation
from app.services import consent, organisations, synthetic, teams
from app.services.synthetic import SyntheticPerson
from geo import releases
from messaging.types import Channel

SLUG = "demo-police"
BOROUGH_NAME, WARD_NAME = "Hillingdon", "Uxbridge"
IN_WARD, IN_BOROUGH, OUTSIDE = 1_500, 7_500, 1_000
SEED = 2026
TOPICS = ("incidents and appeals", "prevention")
BULK_SENDERS, URGENT_SENDERS, RATE = 20, 5, 40.0
ACTOR = audit.Actor(audit.ActorKind.OPERATOR, origin="cli")
WORDING = (
    "I agree that the police may send me alerts about the places and topics I chose. I can stop at any time, "
    "with one tap or by texting STOP."
)
REGISTER_WORDING = (
    "I put my camera on the register, so that the police can ask me about footage. Nobody learns that I have a camera "
    "before I answer.\n"
    "What an investigation was given after I answered stays with that case, also when I leave. Everything else goes when I "
    "leave, which I can at any time with one button."
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it happens, and everybody who lives there."""

    ward: str
    borough: str
    forces: tuple[str, ...]
    people: tuple[SyntheticPerson, ...]

    def should_hear(self, areas: Collection[str], stopped: Collection[str]) -> set[int]:
        """Contact ids that an alert for these areas is for: lives there, agreed, has not stopped."""
        everywhere = set(self.forces) <= set(areas)
        return {
            p.contact_id
            for p in self.people
            if (everywhere or p.ward_code in areas or p.borough_code in areas)
            and p.agreed
            and p.address not in stopped
        }


def scene() -> Scene:
    """The same 10,000 people each time: 1,500 in one ward, 7,500 more in its borough, 1,000 outside."""
    borough = next(b.code for b in releases.boroughs() if b.name == BOROUGH_NAME)
    ward = next(w.code for w in releases.wards() if w.name.startswith(WARD_NAME) and w.parent_code == borough)
    everywhere = synthetic.postcodes_of_london()
    parts = (
        ([p for p in everywhere if p[1] == ward], IN_WARD),
        ([p for p in everywhere if p[2] == borough and p[1] != ward], IN_BOROUGH),
        ([p for p in everywhere if p[2] != borough], OUTSIDE),
    )
    people: list[SyntheticPerson] = []
    for postcodes, count in parts:
        people.extend(synthetic.generate(postcodes, count, seed=SEED, first=len(people)))
    return Scene(ward, borough, tuple(f.code for f in releases.forces()), tuple(people))


def sender_addresses(lane: str) -> list[str]:
    """The demo's numbers, from the range that Ofcom keeps for drama."""
    first, count = (1, BULK_SENDERS) if lane == "bulk" else (51, URGENT_SENDERS)
    return [f"+4477009000{n:02d}" for n in range(first, first + count)]


def settle(session: Session, people: Sequence[SyntheticPerson]) -> UUID:
    """Make the organisation, its senders and its people, all or nothing; its id. Twice is once."""
    there = organisations.by_slug(session, SLUG)
    if there is not None:
        return there.id
    police = organisations.create(
        session,
        slug=SLUG,
        name="Demo Police",
        kind="police",
        legal_basis="consent (Article 6(1)(a) UK GDPR)",
        competent_authority=True,
        actor=ACTOR,
    )
    consent.add_wording(session, WORDING, actor=ACTOR)
    consent.add_wording(session, REGISTER_WORDING, purpose=consent.REGISTER, actor=ACTOR)
    for lane in ("bulk", "urgent"):
        _sender(session, police, "email", "sendgrid", f"{lane}@alerts.example", "email", lane)
        for number in sender_addresses(lane):
            _sender(session, police, "sms", "twilio", number, "two-way", lane)
    synthetic.load(session, people, police.id, TOPICS, actor=ACTOR)
    return police.id


def team(session: Session, controller: UUID, place: Scene) -> str:
    """The ward's team, made once; its name."""
    name = f"{WARD_NAME} Safer Neighbourhoods Team"
    try:
        teams.by_name(session, controller, name)
    except Missing:
        made = teams.create(
            session,
            controller=controller,
            name=name,
            areas=[place.ward],
            about="We work in the streets around the station and the High Street. Ask us anything, or tell us "
            "what worries you.",
            email="uxbridge.team@police.example",
            phone="101",
            actor=ACTOR,
        )
        for role, who in (("Sergeant", None), ("Police constable", None), ("PCSO", "Jo Demo")):
            teams.add_member(session, made.id, role=role, name=who, agreed=who is not None, actor=ACTOR)
    return name


def _sender(
    session: Session, police: Organisation, channel: str, provider: str, address: str, kind: str, lane: str
) -> None:
    organisations.add_sender(
        session,
        [police.id],
        channel=channel,
        provider=provider,
        address=address,
        kind=kind,
        lane=lane,
        display_name=police.name,
        segments_per_second=RATE,
        actor=ACTOR,
    )


def alerts(place: Scene) -> dict[str, dict[str, Any]]:
    """What is said, and to which areas: an advice, an urgent alert and an appeal."""
    both = [str(Channel.EMAIL), str(Channel.SMS)]
    return {
        "advice to all": {
            "kind": "advice",
            "urgency": "routine",
            "topic": "prevention",
            "headline": "Shorter days: how to keep your home safe",
            "body": "Burglars look for dark houses in the late afternoon.\n\n"
            "- Leave a light on a timer.\n- Lock doors and windows even when you are in.\n"
            "- Ask a neighbour to look out while you are away.",
            "what_to_do": "If you see somebody trying doors, call 999.",
            # Three segments: long enough that a sender's pace is felt, and somebody can say STOP midway.
            "sms_text": "Dark afternoons: burglars look for houses without light. Leave a light on a timer. "
            "Lock doors and windows even when you are in. Ask a neighbour to look out while you are away, and do the "
            "same for them. Keep keys and bags out of sight of the letter box. Light the way to your front door. "
            "If you see somebody trying doors, call 999. To tell us something that is not urgent, call 101.",
            "channels": both,
            "audience_expression": {"areas": list(place.forces)},
        },
        "alert to the ward": {
            "kind": "alert",
            "urgency": "urgent",
            "topic": "incidents and appeals",
            "headline": "Gas leak: keep away from the High Street",
            "body": "There is a gas leak in the High Street. Fire and police are there.\n\n"
            "Roads around it are closed until further notice.",
            "what_to_do": "Keep away, and keep windows shut. Do not smoke outdoors nearby.",
            "sms_text": "Gas leak, High Street. Keep away, keep windows shut. Roads are closed.",
            "channels": both,
            "audience_expression": {"areas": [place.ward]},
        },
        "appeal to the borough": {
            "kind": "appeal",
            "urgency": "routine",
            "topic": "incidents and appeals",
            "headline": "Did you see this? Robbery at a bus stop on Tuesday",
            "body": "On Tuesday at about 6 pm a woman was robbed of her telephone at a bus stop.\n\n"
            "We look for two people on one electric bicycle.",
            "what_to_do": "If you saw something, or have a camera on that road, call 101.",
            "sms_text": "Robbery at a bus stop, Tuesday 6pm. Two people on an e-bike. Saw something? Call 101.",
            "channels": both,
            "audience_expression": {"areas": [place.borough]},
        },
    }
