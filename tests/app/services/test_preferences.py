"""What somebody may ask for, and what is refused with a word of why."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models.deferral import ContactPreference
from app.services import preferences
from app.services.preferences import NONE, Preferences
from messaging.types import Channel
from tests.factories import ACTOR, Makes

DAILY = Preferences(digest="daily", digest_hour=8)
WEEKLY = Preferences(digest="weekly", digest_hour=8, digest_weekday=7)


@pytest.mark.parametrize(
    "wanted",
    [
        NONE,
        DAILY,
        WEEKLY,
        Preferences(quiet_from=22, quiet_until=7),
        Preferences(quiet_from=0, quiet_until=20),
        Preferences(quiet_from=9, quiet_until=17, weekly_cap=1, digest="daily", digest_hour=17),
        Preferences(weekly_cap=50),
    ],
)
def test_what_is_chosen_is_kept_and_twice_is_once(
    session: Session, makes: Makes, wanted: Preferences
) -> None:
    contact = makes.contact()
    preferences.choose(session, contact, Preferences(weekly_cap=7), actor=ACTOR)
    assert preferences.choose(session, contact, wanted, actor=ACTOR)
    assert preferences.of_contact(session, contact.id) == wanted
    assert not preferences.choose(session, contact, wanted, actor=ACTOR)
    rows = session.scalar(sa.select(sa.func.count()).select_from(ContactPreference))
    assert rows == (0 if wanted == NONE else 1)


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("quiet_from", Preferences(quiet_from=24, quiet_until=7)),
        ("quiet_from", Preferences(quiet_until=7)),
        ("quiet_until", Preferences(quiet_from=22)),
        ("quiet_until", Preferences(quiet_from=22, quiet_until=22)),
        ("quiet_until", Preferences(quiet_from=22, quiet_until=21)),
        ("weekly_cap", Preferences(weekly_cap=0)),
        ("weekly_cap", Preferences(weekly_cap=51)),
        ("digest", Preferences(digest="hourly")),
        ("digest", Preferences(digest_hour=8)),
        ("digest_hour", Preferences(digest="daily")),
        ("digest_hour", Preferences(digest="daily", digest_hour=5)),
        ("digest_hour", Preferences(digest="daily", digest_hour=8, quiet_from=22, quiet_until=9)),
        ("digest_weekday", Preferences(digest="weekly", digest_hour=8)),
        ("digest_weekday", Preferences(digest="weekly", digest_hour=8, digest_weekday=8)),
        ("digest_weekday", Preferences(digest="daily", digest_hour=8, digest_weekday=1)),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    session: Session, makes: Makes, field: str, wanted: Preferences
) -> None:
    contact = makes.contact()
    with pytest.raises(Invalid) as refused:
        preferences.choose(session, contact, wanted, actor=ACTOR)
    assert refused.value.field == field
    assert preferences.of_contact(session, contact.id) == NONE


def test_a_phone_has_no_digest(session: Session, makes: Makes) -> None:
    with pytest.raises(Invalid, match="by e-mail only"):
        preferences.choose(session, makes.contact(channel=Channel.SMS), DAILY, actor=ACTOR)
