"""Where residents sign up in tests: a place with postcodes and an organisation, and what was queued for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.service_messages import ServiceMessage
from app.services import consent, people
from app.services.confirmations.rations import Terms
from messaging.types import Channel
from tests.factories import TOPIC, Makes

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HERE, THERE = "UB8 1UW", "UB8 3PH"
MAIL, MOBILE = "ada@people.example", "+447700900123"
TERMS = Terms("192.0.2.0/24", "https://wardlink.example", 1_000_000, 1_000_000, 1_000_000, Decimal(4))
SECRETS = re.compile(r"(?P<code>\b[0-9]{6}\b)|/confirm/(?P<link>[\w-]+)|/not-me/(?P<not_me>[\w-]+)")


@dataclass
class Town:
    """Two wards of a borough, a postcode in each, and a police force that writes by e-mail and text."""

    police: Organisation
    wards: list[Area]
    wording: int


def town(makes: Makes) -> Town:
    police = makes.organisation()
    makes.sender(police)
    makes.sender(police, "sms")
    _, *wards = makes.borough()
    for ward, postcode in zip(wards, (HERE, THERE), strict=True):
        makes.postcode(ward, postcode)
    makes.wording()
    return Town(police, wards, consent.current_wording(makes.session).id)


def address(typed: str) -> people.Address:
    return people.read_address(Channel.EMAIL if "@" in typed else Channel.SMS, typed, fictional=True)


def wanted(place: Town, *typed: str, **changes: object) -> dict[str, object]:
    """What a sign-up needs, as keywords."""
    values: dict[str, object] = {
        "controller": UUID(str(place.police.id)),
        "postcode": HERE,
        "topics": [TOPIC],
        "wording": place.wording,
        "addresses": [address(one) for one in typed or (MAIL,)],
        "salutation": None,
        "terms": TERMS,
        "now": NOW,
    }
    return values | changes


@dataclass
class Letter:
    """A queued message that a worker would send, opened."""

    to: str
    row: ServiceMessage
    code: str
    link: str
    not_me: str


def letters(session: Session, to: str | None = None) -> list[Letter]:
    """The messages that may still leave, the oldest first."""
    rows = session.scalars(
        sa.select(ServiceMessage)
        .where(ServiceMessage.expires_at > ServiceMessage.created_at)
        .order_by(ServiceMessage.id)
    )
    found = []
    for row in rows:
        secrets: dict[str, str] = {}
        for match in SECRETS.finditer(row.text or ""):
            secrets |= {name: value for name, value in match.groupdict().items() if value}
        found.append(
            Letter(
                row.address or "", row, secrets["code"], secrets.get("link", ""), secrets.get("not_me", "")
            )
        )
    return [one for one in found if to in (None, one.to)]


def other_than(*codes: str) -> str:
    """A code that is none of these."""
    return next(code for code in ("000000", "111111", "222222") if code not in codes)
