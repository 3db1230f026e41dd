"""Synthetic people: for demonstrations, tests of whole processes and benchmarks.

Every one is marked, so an adapter refuses to send to them anywhere but this machine; their
addresses lie under .example, their numbers have more digits than any telephone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import new_id
from app.errors import Missing
from app.models.people import ADDRESS_PURPOSE, SALUTATION_PURPOSE
from app.services import areas, consent
from app.services.area_changes import outlines
from geo import releases
from messaging import email_address
from messaging.types import Channel

CONFIRMED = datetime(2026, 1, 1, tzinfo=UTC)
_GIVEN = (
    "Amara",
    "Bilal",
    "Chloe",
    "Dylan",
    "Efua",
    "Farah",
    "Grace",
    "Hamza",
    "Isla",
    "Joon",
    "Kofi",
    "Leila",
)
BLOCK = 20_000


@dataclass(frozen=True, slots=True)
class SyntheticPerson:
    """Somebody who does not exist, with everything that decides whether an alert is for them."""

    contact_id: int
    channel: Channel
    address: str
    name: str
    postcode: str
    ward_code: str
    borough_code: str
    agreed: bool


def number(n: int) -> str:
    """A text address that no network can reach: the drama prefix and too many digits."""
    return f"+447700900{n:06d}"


def generate(
    postcodes: Sequence[tuple[str, str, str]],
    count: int,
    *,
    seed: int,
    first: int = 0,
    sms_share: float = 0.3,
    agreed_share: float = 0.95,
) -> Iterator[SyntheticPerson]:
    """``count`` people at random ``(postcode, ward, borough)``; the same seed gives the same people.

    Exactly ``sms_share`` of them are reached by text and ``agreed_share`` agreed, spread evenly.
    """
    chance = random.Random(f"wardlink synthetic {seed} {first}")  # noqa: S311  nobody must not guess it
    for i in range(count):
        postcode, ward, borough = postcodes[chance.randrange(len(postcodes))]
        by_text = _spread(i, sms_share)
        n = first + i
        yield SyntheticPerson(
            contact_id=chance.getrandbits(63) or 1,
            channel=Channel.SMS if by_text else Channel.EMAIL,
            address=number(n) if by_text else f"person{n}@people.example",
            name=_GIVEN[n % len(_GIVEN)],
            postcode=postcode,
            ward_code=ward,
            borough_code=borough,
            # Another stride than the channel's, so that both kinds hold people who did not agree.
            agreed=not _spread((i * 7 + 3) % max(count, 1), 1 - agreed_share),
        )


def _spread(i: int, share: float) -> bool:
    return int((i + 1) * share) > int(i * share)


def postcodes_of_london() -> list[tuple[str, str, str]]:
    """Every live postcode with its ward and borough."""
    table = releases.live_postcodes()
    return list(zip(table.postcode, table.ward_code, table.borough_code, strict=True))


def load(
    session: Session,
    people: Iterable[SyntheticPerson],
    controller: UUID,
    topics: Sequence[str],
    *,
    actor: audit.Actor,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Copy people in, with places, subscriptions and consents; how many. London must be loaded."""
    release = areas.loaded_release(session)
    if release is None:
        raise Missing("London is not loaded. Run: wardlink london load")
    wards = {row[0]: row[1] for row in _wards(session)}
    wording = consent.current_wording(session).id
    total = 0
    block: list[SyntheticPerson] = []
    for person in people:
        block.append(person)
        if len(block) == BLOCK:
            total += _load_block(session, block, controller, topics, wards, release, wording)
            progress(total)
            block = []
    total += _load_block(session, block, controller, topics, wards, release, wording)
    outlines.settle_all(session, day=CONFIRMED.date())
    progress(total)
    audit.record(
        session,
        event="person:synthesise",
        subject=f"organisation:{controller}",
        actor=actor,
        organisation=controller,
        detail={"people": total},
    )
    return total


def _wards(session: Session) -> list[Any]:
    return list(
        session.execute(sa.text("SELECT code, id FROM areas WHERE kind = 'ward' AND valid_to IS NULL"))
    )


def _load_block(
    session: Session,
    people: Sequence[SyntheticPerson],
    controller: UUID,
    topics: Sequence[str],
    wards: dict[str, int],
    release: str,
    wording: int,
) -> int:
    keys = crypto.keyring()
    kinds = {Channel.EMAIL: "email", Channel.SMS: "phone"}
    contacts, places, memberships, consents = [], [], [], []
    subscriptions: list[tuple[Any, ...]] = []
    for p in people:
        place = new_id()
        form = p.address.casefold()
        contacts.append(
            (
                p.contact_id,
                str(p.channel),
                keys.encrypt(p.address, ADDRESS_PURPOSE),
                keys.digest(kinds[p.channel], form),
                keys.index_id,
                email_address.FORM_VERSION,
                keys.encrypt(p.name, SALUTATION_PURPOSE),
                True,
                CONFIRMED,
            )
        )
        places.append((place, controller, "postcode", p.postcode))
        memberships.append((place, wards[p.ward_code], CONFIRMED.date(), release))
        subscriptions.extend((new_id(), place, p.contact_id, controller, topic) for topic in topics)
        if p.agreed:
            consents.append(
                (
                    new_id(),
                    p.contact_id,
                    controller,
                    str(p.channel),
                    "alerts",
                    wording,
                    CONFIRMED,
                    "synthetic",
                )
            )
    _copy(
        session,
        "contact_points (id, channel, address_enc, digest, digest_key, form_version, salutation_enc, synthetic, "
        "confirmed_at)",
        ["int8", "text", "bytea", "bytea", "int2", "int2", "bytea", "bool", "timestamptz"],
        contacts,
    )
    _copy(session, "places (id, controller_id, kind, postcode)", ["uuid", "uuid", "text", "text"], places)
    _copy(
        session,
        "place_areas (place_id, area_id, valid_from, release_id)",
        ["uuid", "int4", "date", "text"],
        memberships,
    )
    _copy(
        session,
        "subscriptions (id, place_id, contact_id, controller_id, topic)",
        ["uuid", "uuid", "int8", "uuid", "text"],
        subscriptions,
    )
    _copy(
        session,
        "consents (id, contact_id, controller_id, channel, purpose, wording_id, given_at, how)",
        ["uuid", "int8", "uuid", "text", "text", "int4", "timestamptz", "text"],
        consents,
    )
    return len(people)


def _copy(session: Session, target: str, types: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    raw = session.connection().connection.driver_connection
    assert raw is not None
    with raw.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
